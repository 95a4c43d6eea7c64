-- keys: every Redis key of a stream. The build puts these texts in for KEY.name in the other Lua files
-- (broker/commands/scripts.py); a table would be created at every call.
--
-- A stream S is a log of entries and its side keys. All carry the hash tag {S}, so they are in one Redis Cluster slot,
-- and every script takes the one key `broker:{S}` and appends these texts to it. A consumer C is the consumer group C
-- on the log: the group's pending list (PEL) is the truth of what is out. Side keys only index what the PEL and the log
-- cannot answer.
--
-- broker:{S} itself is a hash: kind, limits, idx and seen (number and id of the last counted message), first (number of
-- the first entry left), clock (prelude.lua), largest (bytes of the largest entry).
return {
  log = ':log',                        -- stream  entries: head, body (shared/entries.lua)
  records = ':records',                -- hash    record id -> "entry-id inserted_at upstream_updated_us digest place"
  dedupe = ':dedupe',                  -- hash    event id -> "entry-id time" of this dedupe window
  dedupe_old = ':dedupe:old',          -- hash    the same for the previous window
  plain = ':plain',                    -- zset    ids of entries added by a plain XADD, score = their idx
  filters = ':filters',                -- hash    filters in use: F, F:uses; while its index is built, F:at, F:until
  routes = ':routes',                  -- zset    patterns of the filters in use, by which entries find them
  leaving = ':leaving',                -- zset    "id place" of entries that have yet to leave their indexes
  index = ':index:',                   -- :F zset ids of the entries that filter F matches
  index_all = ':index:all',            -- zset    ids of all records
  delayed = ':delayed',                -- zset    tickets of events to be appended later, score = when
  delayed_events = ':delayed-events',  -- hash    ticket -> the event: arguments of its append as a JSON list
  delayed_ids = ':delayed-ids',        -- hash    event id -> its last ticket
  ttl = ':ttl',                        -- zset    ids of events with a time to live, score = its end
  lapsed = ':lapsed',                  -- zset    ids of events whose time to live is over
  mark = ':mark:',                     -- :M string left by a publish that waits (shared/durable.lua); expires
  consumers = ':consumers',            -- set     names
  wake = ':wake',                      -- stream  names of consumers with something to deliver that the log lacks
  retrying = ':retrying',              -- zset    "id:consumer" of all messages in a retry set or parked
  gone = ':gone',                      -- zset    ids that have yet to leave `retrying` (shared/forgetting.lua)
  left = ':left',                      -- zset    "N C": an ended life of C left left:N (shared/leftovers.lua)
  left_of = ':left:',                  -- :N zset
  consumer = ':consumer:',             -- :C hash   configuration, epoch, cursor, position, sweep position
  gate = ':gate:',                     -- :C stream exists between fast_read and the XREADGROUP that follows it
  retry = ':retry:',                   -- :C zset   messages to deliver again, not in the PEL, score = when, 0 = now
  deadlines = ':deadlines:',           -- :C zset   deliveries out of order, score = when their ack wait began
  firsts = ':firsts:',                 -- :C set    ids of those of `deadlines` with a deliver count of 1
  fresh = ':fresh:',                   -- :C set    ids of those of `retry` and `parked` that were never delivered
  notes = ':notes:',                   -- :C hash   id -> its last nack, or expiry (note_of in prelude.lua)
  busy = ':busy:',                     -- :C set    with ordering by key, as the next three (shared/holding.lua)
  held = ':held:',                     -- :C hash
  parked = ':parked:',                 -- :C hash
  queue = ':queue:',                   -- :C zset
  dead = ':dead:',                     -- :C stream dead letters
  dead_ids = ':dead-ids:',             -- :C hash   message id -> id in broker:{S}:dead:C
}
