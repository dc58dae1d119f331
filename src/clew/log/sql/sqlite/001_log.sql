-- The log. One row an event, in commit order.
--
-- Four columns bear the names that the eventsourcing library's recorders select by (rowid, originator_id,
-- originator_version, topic, state): they are position, stream, version, kind and body in our words.
-- autoincrement: a position is never used twice, not even after a row were deleted or the file vacuumed.
-- state and salt become null when an event is erased; its hashes stay, so the chain still verifies.
create table events (
    rowid integer primary key autoincrement,
    partition integer not null default 0,
    originator_id text not null,
    originator_version integer not null check (originator_version > 0),
    topic text not null,
    at integer not null,
    actor text,
    state blob,
    salt blob,
    body_hash blob not null check (length(body_hash) = 32),
    hash blob not null check (length(hash) = 32)
);

-- The promise that two appends cannot both follow the same version.
create unique index events_stream on events (partition, originator_id, originator_version);

-- The promise that a repeated request is answered with its first outcome.
-- fingerprint tells a repetition from another request under the same key.
create table idempotency (
    key text primary key,
    fingerprint blob not null,
    stream text not null,
    first_version integer not null,
    last_version integer not null,
    at integer not null
) without rowid;

-- Where each read model stands. position is in the same transaction as its rows.
create table projections (
    name text not null,
    partition integer not null default 0,
    version integer not null,
    position integer not null,
    primary key (name, partition)
) without rowid;

-- States of long streams, so that opening one is not reading it from the start. Never needed, only faster.
create table snapshots (
    stream text primary key,
    version integer not null,
    rules text not null,
    rules_version integer not null,
    state blob not null
) without rowid;

-- Leases on runs that were renewed, until when (microseconds). Operational: no part of any history.
create table leases (
    run_id text primary key,
    worker text not null,
    fence integer not null,
    until integer not null
) without rowid;
