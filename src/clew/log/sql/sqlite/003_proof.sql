-- The Merkle tree over the log, and the signed checkpoints of it. Never needed to read or to append.

-- How many events the tree covers, and whose it is: origin names the log in every checkpoint, verifier is the public
-- half of the key that signs them. Whoever extends the tree changes this row first.
create table proof_head (
    partition integer primary key,
    origin text not null,
    verifier text not null,
    size integer not null
) without rowid;

-- Up to 256 hashes each: of level 0 the leaves, of level n the roots of full subtrees of 256 ** n leaves.
create table proof_tiles (
    partition integer not null default 0,
    level integer not null,
    number integer not null,
    hashes blob not null,
    primary key (partition, level, number)
);

-- Each a signed note, as it is handed out. None is ever changed or taken away.
create table proof_checkpoints (
    partition integer not null default 0,
    size integer not null,
    at integer not null,
    note text not null,
    primary key (partition, size)
) without rowid;
