-- durable: how a publish waits for replicas or the disk. A stream may ask for replicas that have a message, or for the
-- disk, before a publish is answered. A script cannot wait; so it writes a mark after its messages and returns its
-- name.

local MARK_MS = 60000

-- Appends [replicas, fsync (1 or 0), mark] to a publish's reply, if the stream asks for it. A client that sets the key
-- `broker:{S}:mark:MARK` to expire and gets 1 talks to a server that has the messages. A WAIT after that write, on the
-- same connection, counts the replicas that have them too. A WAITAOF there is reliable only with `appendfsync always`.
local function append_mark(s, reply)
  if not s.replicas and not s.fsync then return end
  local time = redis.call('TIME')
  local mark = string.format('%.0f-%.0f', time[1] * 1000000 + time[2], redis.call('HINCRBY', s.key, 'marks', 1))
  redis.call('SET', s.key .. KEY.mark .. mark, 1, 'PX', MARK_MS)
  reply[#reply + 1] = { s.replicas or 0, s.fsync and 1 or 0, mark }
end
