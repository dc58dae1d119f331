-- The Merkle tree over the log, and the signed checkpoints of it; the twin of sqlite/003_proof.sql.

-- How many events the tree covers, and whose it is. Locking this row is what makes one process at a time extend it.
create table proof_head (
    partition integer primary key,
    origin text not null,
    verifier text not null,
    size bigint not null
) with (fillfactor = 10);

-- Up to 256 hashes each: of level 0 the leaves, of level n the roots of full subtrees of 256 ** n leaves.
-- Hashes do not compress.
create table proof_tiles (
    partition integer not null default 0,
    level integer not null,
    number bigint not null,
    hashes bytea not null,
    primary key (partition, level, number)
);

alter table proof_tiles alter column hashes set storage external;

-- Each a signed note, as it is handed out. None is ever changed or taken away.
create table proof_checkpoints (
    partition integer not null default 0,
    size bigint not null,
    at bigint not null,
    note text not null,
    primary key (partition, size)
);
