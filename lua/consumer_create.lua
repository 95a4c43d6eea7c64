-- consumer_create: create a consumer: a group on the log, and its configuration.
-- uses: filters entries holding ordering due forgetting schedule upkeep consumer_upkeep routes leftovers lifecycle
-- KEYS[1]  broker:{S}
-- ARGV     name; start (all, new, last, at:ms, ago:ms); filter: 16 hex digits that stand for the canonical filter
--          ('' = none); canonical filter: a JSON object, field -> list of patterns, sorted, without `*` ('' = none);
--          then two per field, name and value: ack_wait_ms, max_deliver, max_ack_pending, max_waiting, deliver_policy,
--          ordering, backoff_ms (comma separated), metadata (a JSON object in one spelling), filters (as given),
--          epoch (16 random hex digits: names this life of the consumer in its ack tokens)
-- returns  [again = 1]; created; or exists: with the same fields (filters may be spelled differently)
-- errors   STREAM_NOT_FOUND, CONSUMER_EXISTS
-- cost     O(patterns of its filter); later calls that need a new filter's index build it step by step
local s = open_stream(KEYS[1])
if not s then return redis.error_reply('STREAM_NOT_FOUND no such stream') end
local name, start, filter, canonical = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local key, epoch, fields = s.key .. KEY.consumer .. name, nil, {}
for i = 5, #ARGV, 2 do
  if ARGV[i] == 'epoch' then epoch = ARGV[i + 1]
  else fields[#fields + 1], fields[#fields + 2] = ARGV[i], ARGV[i + 1] end
end
local existing = open_consumer(s, name)
if existing and redis.pcall('XPENDING', s.log, name).err then
  -- A plain client destroyed its group, and thereby its state.
  remove_consumer(s, name)
  existing = nil
end
if existing then
  local other = existing.filter ~= filter and 'filters'
  for i = 1, #fields, 2 do
    if fields[i] ~= 'filters' and redis.call('HGET', key, fields[i]) ~= fields[i + 1] then other = fields[i] end
  end
  return other and redis.error_reply('CONSUMER_EXISTS with another ' .. other) or 'exists'
end
keep_clock(s)
if not bring_up_to_date(s) then return { 1 } end -- earlier messages are not its own
local indexed = filter ~= '' or s.kind == 'records'
redis.call('HSET', key, 'filter', filter, 'created_at', s.wall, 'updated_at', s.wall, unpack(fields))
if not begin(s, key, name, start, indexed, epoch) then
  redis.call('DEL', key)
  return redis.error_reply('CONSUMER_EXISTS as a group that another client made')
end
redis.call('SADD', s.key .. KEY.consumers, name)
if filter ~= '' then use_filter(s, filter, canonical) end
return 'created'
