-- expiry: what time changes, in bounded steps: deliveries expire, retries come due, exhausted messages die.

-- Stores the sweep's position for the next call.
local function keep_sweep(c)
  if c.sweep ~= c.kept.sweep or c.sweep_at ~= c.kept.sweep_at then
    redis.call('HSET', c.key, 'sweep', c.sweep, 'sweep_at', string.format('%.0f', c.sweep_at))
    c.kept = { sweep = c.sweep, sweep_at = c.sweep_at }
  end
end

-- Buries rows of the PEL that have used up max_deliver.
local function bury_rows(s, c, rows)
  local ids = {}
  for i, row in ipairs(rows) do
    bury(s, c, row, 'max_deliver')
    ids[i] = row.id
  end
  take_out(s, c, ids)
end

-- Of due members of `deadlines`: buries those that are exhausted, forgets those that have left the PEL, and gives the
-- others score 0. Returns how many were buried or forgotten.
local function process_deadlines(s, c, members)
  local ids, args, dead, gone, scores = {}, {}, {}, 0, {}
  for i, member in ipairs(members) do ids[i] = stream_id(member) end
  local rows = rows_of(s, c, ids)
  if #ids > 0 then scores = redis.call('ZMSCORE', c.deadlines, unpack(members)) end
  local noted = redis.call('EXISTS', c.notes) == 1
  for i, id in ipairs(ids) do
    local p = rows[id]
    local _, given_back, reason = 0, 0, ''
    if p and noted then _, given_back, reason = note_of(c, id) end
    if not p then
      forget_deadline(c, id)
      redis.call('HDEL', c.notes, id)
      gone = gone + 1
    elseif not is_ours(p[2]) and p[3] < c.ack_wait_ms then -- a plain client has claimed it
      set_deadline(s, c, id, s.now - p[3], p[4] - given_back)
    elseif exhausted(c, p[4] - given_back) then
      dead[#dead + 1] = { id = id, number = p[4], delivered_at = s.wall - p[3], worker = worker_of(p[2]) }
    else
      args[#args + 1], args[#args + 2] = 0, members[i]
      local began, delivered_at = scores[i] - s.lead - redelivery_delay(c, p[4] - given_back), s.wall - idle_of(s, c, p)
      if tonumber(scores[i]) > 0 and began > delivered_at + 50 then -- it was extended, which score 0 does not say
        write_note(c, id, p[4], given_back, delivered_at, began + c.ack_wait_ms, reason)
      end
    end
  end
  bury_rows(s, c, dead)
  if #args > 0 then redis.call('ZADD', c.deadlines, unpack(args)) end
  return gone + #dead
end

-- The same for `retry`, whose messages are not in the PEL.
local function process_retries(s, c, members)
  local args, buried = {}, 0
  for _, member in ipairs(members) do
    local id = stream_id(member)
    local number, given_back = 0, 0
    if c.max_deliver > 0 then number, given_back = note_of(c, id) end
    if exhausted(c, number - given_back) then -- max_deliver was lowered
      redis.call('ZREM', c.retry, member)
      redis.call('ZREM', s.key .. KEY.retrying, member .. ':' .. c.name)
      bury(s, c, { id = id, number = number }, 'max_deliver')
      buried = buried + 1
    else
      args[#args + 1], args[#args + 2] = 0, member
    end
  end
  if #args > 0 then redis.call('ZADD', c.retry, unpack(args)) end
  return buried
end

-- Checks members with score 0 again after a change of max_deliver. `recheck`: which set, and how many members to skip.
local function recheck(s, c, limit)
  if not c.recheck then return true end
  local part, skip = string.match(c.recheck, '^(%a+) (%d+)$')
  local due = redis.call('ZRANGEBYSCORE', c[part], 0, 0, 'LIMIT', skip, limit)
  local left = (part == 'retry' and process_retries or process_deadlines)(s, c, due)
  if #due == limit then
    redis.call('HSET', c.key, 'recheck', part .. ' ' .. skip + #due - left)
    return false
  end
  c.recheck = part == 'deadlines' and 'retry 0' or nil
  if not c.recheck then redis.call('HDEL', c.key, 'recheck') end
  return recheck(s, c, limit)
end

-- Does what is due. False: it did one bounded step, and there is more.
local function expire(s, c)
  local limit, done = c.max_deliver > 0 and fitting(s, MAX_ANSWER_BYTES, ROWS_A_STEP) or ROWS_A_STEP, true
  if redis.call('EXISTS', c.deadlines, c.retry) > 0 then
    local due = redis.call('ZRANGEBYSCORE', c.deadlines, '(0', s.now - c.ack_wait_ms, 'LIMIT', 0, limit)
    if #due > 0 then process_deadlines(s, c, due) end
    local retries = redis.call('ZRANGEBYSCORE', c.retry, '(0', s.now, 'LIMIT', 0, limit)
    if #retries > 0 then process_retries(s, c, retries) end
    done = #due < limit and #retries < limit
  end
  done = done and recheck(s, c, limit)
  if done and exhausted(c, 1) then
    local rows = expired_in_order(s, c, limit)
    bury_rows(s, c, rows)
    done = #rows < limit and not rows.bound
  end
  keep_sweep(c)
  return done
end

