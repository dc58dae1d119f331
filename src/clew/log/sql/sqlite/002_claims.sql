-- Leases of workers that share a log. A claim is for the run as it stood at position `claimed`: a run that has
-- moved since may be claimed again, whoever holds an older lease on it.
drop table leases;

create table leases (
    run_id text primary key,
    worker text not null,
    fence integer not null,
    claimed integer not null,
    until integer not null
) without rowid;

create index leases_until on leases (until);
