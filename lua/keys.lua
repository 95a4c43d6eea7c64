-- keys: every Redis key of a stream. KEY.name in another Lua file stands for the text given here, which is put in when the scripts
-- are built (broker/commands/scripts.py): Lua would make a table of them at every call.
--
-- A stream S is a log of entries and its side keys; all carry the hash tag {S}, so one Redis Cluster slot holds them, and
-- every script takes the one key `broker:{S}` to which these texts are added. A consumer C is the consumer group C on the log:
-- the group's pending list (PEL) is the truth of what is out. Side keys only index what the PEL and the log cannot answer.
--
-- broker:{S} itself is a hash: kind, limits, idx and seen (the number and the id of the last counted message), first (number of
-- the first entry left), clock (prelude.lua), largest (bytes of an entry).
return {
  log = ':log',                        -- stream  entries: head, body (shared/entries.lua)
  records = ':records',                -- hash    record id -> "entry-id inserted_at upstream_updated_us digest place" (shared/filters.lua)
  dedupe = ':dedupe',                  -- hash    event id -> "entry-id time" of this dedupe window
  dedupe_old = ':dedupe:old',          -- hash    the same of the window before
  plain = ':plain',                    -- zset    ids of entries added by a plain XADD, score = their idx
  filters = ':filters',                -- hash    filters in use: F, F:uses, and while it is built F:at, F:until (shared/routes.lua)
  routes = ':routes',                  -- zset    the patterns of the filters in use, by which entries find these
  leaving = ':leaving',                -- zset    "id place" of entries that are yet to leave their indexes
  index = ':index:',                   -- :F zset ids of the entries that filter F matches
  index_all = ':index:all',            -- zset    ids of every record
  delayed = ':delayed',                -- zset    tickets of events that are to be appended later, score = when
  delayed_events = ':delayed-events',  -- hash    ticket -> the event: arguments of its append as a JSON list
  delayed_ids = ':delayed-ids',        -- hash    event id -> the last ticket with it
  ttl = ':ttl',                        -- zset    ids of events with a time to live, score = when it is over
  lapsed = ':lapsed',                  -- zset    ids of events whose time to live is over
  mark = ':mark:',                     -- :M string left by a publish that is waited for (shared/durable.lua); ends by itself
  consumers = ':consumers',            -- set     names
  wake = ':wake',                      -- stream  names of consumers with something to deliver that the log does not show
  retrying = ':retrying',              -- zset    "id:consumer" of all that lies in a retry set or is parked
  gone = ':gone',                      -- zset    what is yet to leave `retrying` (shared/forgetting.lua)
  left = ':left',                      -- zset    "N C": what an ended life of C left in left:N (shared/leftovers.lua)
  left_of = ':left:',                  -- :N zset
  consumer = ':consumer:',             -- :C hash   configuration, epoch, cursor, position, sweep position
  gate = ':gate:',                     -- :C stream exists between `fast_read` and the XREADGROUP that follows it in a transaction
  retry = ':retry:',                   -- :C zset   nacked messages, score = time due, 0 = now. Not in the PEL while here
  deadlines = ':deadlines:',           -- :C zset   out rows that do not expire in stream order, score = when their ack wait began
  firsts = ':firsts:',                 -- :C set    ids of those of `deadlines` with a deliver count of 1
  fresh = ':fresh:',                   -- :C set    ids of those of `retry` and `parked` that were never delivered
  notes = ':notes:',                   -- :C hash   id -> "delivery-number given-back@delivered-at,due-at reason" of nacked messages
  busy = ':busy:',                     -- :C set    of a consumer with ordering key, as the next three (shared/holding.lua)
  held = ':held:',                     -- :C hash
  parked = ':parked:',                 -- :C hash
  queue = ':queue:',                   -- :C zset
  dead = ':dead:',                     -- :C stream dead letters
  dead_ids = ':dead-ids:',             -- :C hash   message id -> id in broker:{S}:dead:C
}
