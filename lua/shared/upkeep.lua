-- upkeep: bounded steps (shared/filters.lua) that bring a stream and its indexes up to date before they are used.

-- The number of the last counted entry before this one (nil = the end of the log), which may have yet to be counted.
local function number_before(s, entry)
  local counted = entry and sortable(entry[1]) <= sortable(s.seen)
  local idx = counted and idx_of(s, entry) or 0
  return idx > 0 and idx - 1 or s.idx
end

-- How many entries a script drops at most.
local TRIMMED = 10000

-- Drops what exceeds the limits of an event stream. False: there is more. Whole nodes of the log go first, since Redis
-- can count these.
local function trim(s)
  local bound, dropped, done = too_old(s), 0, true
  if s.max_messages then
    local over = s.idx - s.first + 1 - s.max_messages
    if over > TRIMMED then dropped = redis.call('XTRIM', s.log, 'MAXLEN', '=', s.max_messages + over - TRIMMED) end
    done = dropped == 0
    if done then dropped = redis.call('XTRIM', s.log, 'MAXLEN', '=', s.max_messages) end
  end
  if bound and done then
    local old = redis.call('XTRIM', s.log, 'MINID', '~', bound, 'LIMIT', TRIMMED)
    done = old < TRIMMED / 2
    dropped = dropped + old + (done and redis.call('XTRIM', s.log, 'MINID', '=', bound) or 0)
  end
  if dropped > 0 then
    local first = first_entry(s)
    s.bound = member_bound(first)
    s.first = number_before(s, first) + 1
    redis.call('HSET', s.key, 'first', s.first)
    redis.call('ZREMRANGEBYLEX', s.key .. KEY.plain, '-', s.bound)
    redis.call('ZREMRANGEBYLEX', s.key .. KEY.lapsed, '-', s.bound)
    s.dropping = s.dropping or 'now'
  end
  return done
end

-- Visits entries after one id and up to another one, at least one, until the script's work is used up. Returns the last
-- id visited, and whether that was all. It reads few entries at a time, and large ones one by one.
local function walk(s, from, to, visit)
  local count = 1
  repeat
    local entries, bytes = from == GREATEST and {} or redis.call('XRANGE', s.log, '(' .. from, to, 'COUNT', count), 0
    for _, entry in ipairs(entries) do
      for _, text in ipairs(entry[2]) do bytes = bytes + #text end
      from = entry[1]
      visit(entry)
    end
    if #entries < count then return from, true end
    count = bytes / count < 4096 and 4 or 1
  until not spend(s, 2 * #entries + bytes / 1000)
  return from, false
end

-- Counts entries that plain clients have added: they get their idx and enter the indexes. True: all are counted.
local function catch_up(s)
  local plain = {}
  local last, done = walk(s, s.seen, '+', function(entry)
    local id, head = entry[1], entry[2][2]
    local stray = not (is_plain(s, entry) or lacks_number(head)) -- it has no number yet
    if stray and not s.strays then
      s.strays = '1'
      redis.call('HSET', s.key, 'strays', s.strays)
    end
    s.idx = s.idx + 1
    plain[#plain + 1], plain[#plain + 2] = s.idx, sortable(id)
    note_size(s, size_of(entry))
    local fields = stray and fields_of(entry)
    if stray then index_entry(s, id, fields.collection_id or '', fields.resource_id)
    else index_entry(s, id, routing_fields(s, entry)) end
    spend(s, 1)
  end)
  if #plain == 0 then return true end
  redis.call('ZADD', s.key .. KEY.plain, unpack(plain))
  s.seen = last
  redis.call('HSET', s.key, 'idx', s.idx, 'seen', s.seen)
  return done
end

-- What a stream needs before it is read or counted. False: it did one step; call again.
local function bring_up_to_date(s)
  local done = trim(s)
  if s.kind == 'events' then
    local counted = s.idx
    done = catch_up(s) and (not s.schedules or (release_delayed(s) and lapse(s))) and done
    if s.schedules and s.idx > counted then done = trim(s) and done end
    write_indexes(s)
  end
  return drop_waiting(s) and done
end

local function up_to_date(s)
  free_first(s)
  return bring_up_to_date(s)
end

