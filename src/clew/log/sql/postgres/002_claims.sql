-- Leases of workers that share a log. A claim is for the run as it stood at position `claimed`: a run that has
-- moved since may be claimed again, whoever holds an older lease on it.
drop table leases;

create table leases (
    run_id text collate "C" primary key,
    worker text not null,
    fence bigint not null,
    claimed bigint not null,
    until bigint not null
);

create index leases_until on leases (until);
