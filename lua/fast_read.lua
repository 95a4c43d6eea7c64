-- fast_read: settle acks, and let the XREADGROUP that follows in the same transaction deliver.
-- uses: due fence counts workers
-- KEYS[1]  broker:{S}
-- ARGV     consumer; batch, 1...1000; how many groups of acks; the groups, as for ack; [worker, as for next: the
--          XREADGROUP reads as `http:WORKER`]
-- returns  [1]: nothing was done and nothing is delivered, call next; [2]: the same, and always so for this consumer;
--          [3]: the same, but the next call of next clears the cause; else the reply of `next` without rows, and how
--          many messages follow, or fewer if a plain client has read within the last second
-- reply    again epoch num_pending num_ack_pending due_in max_waiting seen paused settled / messages
-- errors   CONSUMER_NOT_FOUND
-- cost     O(tokens + log n)
--
-- New messages of an unfiltered, unordered consumer need not pass through Lua (docs/decisions/0014). If there is
-- nothing to do but deliver them, this command counts them as out and creates the gate, a stream without which the read
-- that follows fails before it gives anything:
--
--   MULTI
--   EVALSHA fast_read 1 broker:{S} C batch ...
--   XREADGROUP GROUP C http COUNT batch STREAMS broker:{S}:log broker:{S}:gate:C > >
--   DEL broker:{S}:gate:C
--   EXEC
local s = open_stream(KEYS[1])
local c = open_consumer(s, ARGV[1])
if not c then return redis.error_reply('CONSUMER_NOT_FOUND no such consumer') end
if c.filtered or c.keyed then return { 2 } end
if c.start or c.steps ~= s.steps or s.now >= c.sweep_at then return { 3 } end
if sync_due(s, c) then
  if plain_reads(s, c) then return { 3 } end
  free_first(s)
  redis.call('HSET', c.key, 'synced_at', s.now)
end
if c.paused or upkeep_due(s) or is_mixed(s)
  or not c.index and redis.call('ZCOUNT', s.key .. KEY.plain, c.position + 1, '+inf') > 0
  or redelivery_due(s, c) then return { 1 } end

local batch, out, waiting = tonumber(ARGV[2]), num_ack_pending(s, c), num_new(s, c)
local count, set_back = math.min(batch, waiting), num_set_back(s, c)
if count == 0 or out + batch > c.max_ack_pending or fitting(s, MAX_ANSWER_BYTES, count) < count then return { 1 } end
local settled = { 0, 0 }
if ARGV[3] ~= '0' then
  local acked, stale = ack_tokens(s, c, ARGV, 4, tonumber(ARGV[3]))
  settled, out = { acked, 0, unpack(stale) }, out - acked
end
local gate = s.key .. KEY.gate .. c.name
redis.call('DEL', gate) -- frees first: see free_first
keep_clock(s)
if c.index then
  local last = redis.call('ZRANGEBYLEX', c.index, '(' .. sortable(c.cursor), '+', 'LIMIT', count - 1, 1)[1]
  redis.call('HSET', c.key, 'cursor', stream_id(last))
else
  redis.call('HSET', c.key, 'cursor', '', 'position', math.max(c.position, s.first - 1) + count)
end
if #ARGV % 3 == 1 then reader_for(s, c, ARGV[#ARGV]) end
redis.call('XGROUP', 'CREATE', gate, c.name, '0', 'MKSTREAM')
return { 0, c.epoch, waiting - count + set_back, out + count, -1, c.max_waiting, s.seen, 0, settled, count }
