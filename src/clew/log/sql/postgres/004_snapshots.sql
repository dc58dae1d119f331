-- States of long streams at many of their versions, so that a fork anywhere is as quick as one at the end.
-- Never needed, only faster: what there was is made again in time.
drop table snapshots;

create table snapshots (
    stream text collate "C" not null,
    version bigint not null,
    rules text collate "C" not null,
    rules_version bigint not null,
    state bytea not null,
    primary key (stream, version)
);
