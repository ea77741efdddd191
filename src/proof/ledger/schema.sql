-- Whose ledger it is: one row.
CREATE TABLE archive (
  one      INTEGER PRIMARY KEY CHECK (one = 1),
  url      TEXT NOT NULL,              -- the prefix
  system   TEXT,                       -- system identifier; NULL until it was learnt
  made_at  TEXT NOT NULL
);

-- One row for each call that used it. ended_at is NULL while it runs, and for ever when it was killed.
CREATE TABLE runs (
  run         INTEGER PRIMARY KEY,
  began_at    TEXT NOT NULL,
  ended_at    TEXT,
  command     TEXT NOT NULL,           -- audit, recovery-windows, ...
  program     TEXT NOT NULL,           -- version of wal-r
  level       TEXT,                    -- names, decode, headers, records
  outcome     TEXT,                    -- ok, warning, critical, unknown
  objects     INTEGER,                 -- objects that were read
  bytes       INTEGER,                 -- stored bytes that were read
  remembered  INTEGER                  -- objects that were taken from the ledger
);

-- One row for each version of a stored segment that was read and judged. Older versions stay.
CREATE TABLE segments (
  id             INTEGER PRIMARY KEY,
  key            TEXT NOT NULL,        -- wal_005/000000010000000000000003.lzo
  size           INTEGER NOT NULL,     -- stored bytes
  version        INTEGER NOT NULL,     -- 64 bits of the etag, else of the time of modification
  etag           TEXT,
  modified       TEXT,
  name           TEXT NOT NULL,        -- 000000010000000000000003
  timeline       INTEGER NOT NULL,     -- in the name
  segment        INTEGER,              -- its number: start divided by the segment size
  start_lsn      TEXT,
  level          TEXT NOT NULL,        -- decode, headers, records
  verdict        TEXT NOT NULL,        -- good, damaged
  code           TEXT,                 -- which kind of damage: docs/findings.md
  damage_lsn     TEXT,
  damage         TEXT,                 -- one clause
  first_checked  TEXT NOT NULL,
  last_checked   TEXT NOT NULL,
  checks         INTEGER NOT NULL,     -- how often
  facts          TEXT,                 -- JSON of a good one; the columns below are read from it
  sum            INTEGER NOT NULL,     -- CRC-32C of the row and its marks; a row that does not match is read anew
  records          INTEGER AS (json_extract(facts, '$.records')) VIRTUAL,
  commits          INTEGER AS (json_extract(facts, '$.times.commits')) VIRTUAL,
  aborts           INTEGER AS (json_extract(facts, '$.times.aborts')) VIRTUAL,
  first_record     TEXT    AS (json_extract(facts, '$.first_record')) VIRTUAL,
  last_record      TEXT    AS (json_extract(facts, '$.last_record')) VIRTUAL,
  switched         INTEGER AS (json_extract(facts, '$.switched')) VIRTUAL,
  chained          INTEGER AS (json_extract(facts, '$.chained')) VIRTUAL,
  carry            TEXT    AS (json_extract(facts, '$.carry')) VIRTUAL,
  -- Of commits and aborts: the first, the last, the latest by the clock; and the last commit. Microseconds since 1970.
  first_lsn        TEXT    AS (json_extract(facts, '$.times.first[0]')) VIRTUAL,
  first_micros     INTEGER AS (json_extract(facts, '$.times.first[1]') + 946684800000000) VIRTUAL,
  first_time       TEXT    AS (strftime('%Y-%m-%d %H:%M:%S', first_micros / 1000000, 'unixepoch') || printf('.%06d+00', first_micros % 1000000)) VIRTUAL,
  last_lsn         TEXT    AS (json_extract(facts, '$.times.last[0]')) VIRTUAL,
  last_micros      INTEGER AS (json_extract(facts, '$.times.last[1]') + 946684800000000) VIRTUAL,
  last_time        TEXT    AS (strftime('%Y-%m-%d %H:%M:%S', last_micros / 1000000, 'unixepoch') || printf('.%06d+00', last_micros % 1000000)) VIRTUAL,
  max_lsn          TEXT    AS (json_extract(facts, '$.times.max[0]')) VIRTUAL,
  max_micros       INTEGER AS (json_extract(facts, '$.times.max[1]') + 946684800000000) VIRTUAL,
  max_time         TEXT    AS (strftime('%Y-%m-%d %H:%M:%S', max_micros / 1000000, 'unixepoch') || printf('.%06d+00', max_micros % 1000000)) VIRTUAL,
  last_commit_lsn    TEXT    AS (json_extract(facts, '$.times.last_commit[0]')) VIRTUAL,
  last_commit_micros INTEGER AS (json_extract(facts, '$.times.last_commit[1]') + 946684800000000) VIRTUAL,
  last_commit_time   TEXT    AS (strftime('%Y-%m-%d %H:%M:%S', last_commit_micros / 1000000, 'unixepoch') || printf('.%06d+00', last_commit_micros % 1000000)) VIRTUAL,
  UNIQUE (key, size, version)
);
CREATE INDEX segments_checked ON segments (last_checked, key);
CREATE INDEX segments_name ON segments (timeline, name);

-- Records that decide what a recovery can do, by segment and in its order.
CREATE TABLE marks (
  id    INTEGER NOT NULL REFERENCES segments (id) ON DELETE CASCADE,
  nr    INTEGER NOT NULL,
  kind  TEXT NOT NULL,                 -- checkpoint, timeline_begins, restore_point, backup_end, overwrite, wal_level
  lsn   TEXT NOT NULL,                 -- where the record starts
  name  TEXT,                          -- of a restore point
  time  TEXT,                          -- of a restore point
  mark  TEXT NOT NULL,                 -- JSON of all of it
  PRIMARY KEY (id, nr)
) WITHOUT ROWID;

-- One row for each base backup as it was proven.
CREATE TABLE backups (
  name           TEXT NOT NULL,
  objects        INTEGER NOT NULL,     -- 64 bits of the versions of all its objects
  verdict        TEXT NOT NULL,        -- good, damaged
  first_checked  TEXT NOT NULL,
  last_checked   TEXT NOT NULL,
  checks         INTEGER NOT NULL,
  proof          TEXT NOT NULL,        -- JSON
  sum            INTEGER NOT NULL,     -- CRC-32C of the row
  PRIMARY KEY (name, objects)
) WITHOUT ROWID;
