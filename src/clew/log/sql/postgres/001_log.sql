-- The log. One row an event, in commit order; the twin of sqlite/001_log.sql.
--
-- Five columns bear the names that the eventsourcing library's recorders select by (notification_id, originator_id,
-- originator_version, topic, state): they are position, stream, version, kind and body in our words.
-- Names sort by their bytes, as in SQLite, whatever the database's own order is.

-- The end of the log. Updating this row is the lock and the gapless counter at once, so position order is commit
-- order. epoch grows when a read model is swapped: writers then forget what they remember of it.
create table log_head (
    partition integer primary key,
    head bigint not null,
    at bigint not null,
    migration integer not null,
    epoch bigint not null
) with (fillfactor = 10, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);

insert into log_head values (0, 0, 0, 0, 1);

create table events (
    partition integer not null default 0,
    notification_id bigint not null,
    originator_id text collate "C" not null,
    originator_version bigint not null check (originator_version > 0),
    topic text collate "C" not null,
    at bigint not null,
    actor text,
    state bytea,
    salt bytea,
    body_hash bytea not null check (length(body_hash) = 32),
    hash bytea not null check (length(hash) = 32),
    constraint events_position primary key (partition, notification_id)
);

-- The promise that two appends cannot both follow the same version.
create unique index events_stream on events (partition, originator_id, originator_version);

-- The promise that a repeated request is answered with its first outcome.
create table idempotency (
    key text collate "C" primary key,
    fingerprint bytea not null,
    stream text collate "C" not null,
    first_version bigint not null,
    last_version bigint not null,
    at bigint not null
);

-- Where each read model stands. position is in the same transaction as its rows.
create table projections (
    name text collate "C" not null,
    partition integer not null default 0,
    version bigint not null,
    position bigint not null,
    primary key (name, partition)
);

-- States of long streams, so that opening one is not reading it from the start. Never needed, only faster.
create table snapshots (
    stream text collate "C" primary key,
    version bigint not null,
    rules text collate "C" not null,
    rules_version bigint not null,
    state bytea not null
);

-- Leases on runs that were renewed, until when (microseconds). Operational: no part of any history.
create table leases (
    run_id text collate "C" primary key,
    worker text not null,
    fence bigint not null,
    until bigint not null
);
