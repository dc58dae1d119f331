-- States of long streams at many of their versions, so that a fork anywhere is as quick as one at the end.
-- Never needed, only faster: what there was is made again in time.
drop table snapshots;

create table snapshots (
    stream text not null,
    version integer not null,
    rules text not null,
    rules_version integer not null,
    state blob not null,
    primary key (stream, version)
) without rowid;
