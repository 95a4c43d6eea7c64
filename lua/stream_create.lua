-- stream_create: create a stream.
-- KEYS[1]  broker:{S}
-- ARGV     two per field, name and value: kind, max_messages, max_age_ms, dedupe_window_ms, replicas, fsync (1),
--          metadata; numbers in decimal, null = '', metadata = a JSON object in one spelling
-- returns  created; or exists: with the same fields
-- errors   STREAM_EXISTS: with other fields
-- cost     O(1)
if redis.call('EXISTS', KEYS[1]) == 1 then
  for i = 1, #ARGV, 2 do
    if (redis.call('HGET', KEYS[1], ARGV[i]) or '') ~= ARGV[i + 1] then
      return redis.error_reply('STREAM_EXISTS it has another ' .. ARGV[i])
    end
  end
  return 'exists'
end
local now = now_ms()
redis.call('HSET', KEYS[1], 'idx', 0, 'seen', '0-0', 'largest', 0, 'created_at', now, 'updated_at', now, unpack(ARGV))
redis.call('PERSIST', KEYS[1] .. KEY.wake)
return 'created'
