-- release: make deliveries that are out deliverable again at once. They do not count, and their tokens are stale.
-- uses: filters entries holding ordering due forgetting schedule upkeep consumer_upkeep fence counts redelivery expiry
-- uses: nacks
-- KEYS[1]  broker:{S}
-- ARGV     consumer; a worker's name ('' = by ids); distinct message ids, 500 at most
-- returns  [again = 1]; or [released, how many more the worker had out]
-- errors   CONSUMER_NOT_FOUND
-- cost     O(ids · log n); for a worker 500 deliveries at most
local s, c = enter(KEYS[1], ARGV[1])
if not c then return redis.error_reply('CONSUMER_NOT_FOUND no such consumer') end
if not (ready(s, c) and expire(s, c)) then return { 1 } end
local rows, more = {}, 0
if ARGV[2] == '' then
  local ids = { unpack(ARGV, 3) }
  local found = rows_of(s, c, ids)
  for _, id in ipairs(ids) do rows[#rows + 1] = found[id] end
else
  local left = 500
  for _, reader in ipairs({ 'http:' .. ARGV[2], ARGV[2] ~= OURS and ARGV[2] or nil }) do
    local found = left > 0 and redis.call('XPENDING', s.log, c.name, '-', '+', left, reader) or {}
    for _, p in ipairs(found) do rows[#rows + 1] = p end
    left = 500 - #rows
  end
  for _, row in ipairs(redis.call('XPENDING', s.log, c.name)[4] or {}) do
    if worker_of(row[1]) == ARGV[2] then more = more + row[2] end
  end
  more = more - #rows
end
local ids = {}
for i, p in ipairs(rows) do
  ids[i] = p[1]
  local _, given_back, reason = note_of(c, p[1])
  give_back(s, c, p, given_back + 1, 'release', 0, reason)
end
if not take_out(s, c, ids) then wake(s, c.name) end
return { #ids, more }
