-- Part 3: leases, and the queues of the waiters for leases.
--
-- Each limit has a queue (`at:<name>`), and so have the rates (`at@rates`). In this part, a place is the key of a
-- queue. A waiter is in one queue: that of the limit that blocks it, or that of the rates. Freed room is offered
-- to the oldest waiter of each freed limit. While the oldest waiter does not fit, the limit's other waiters stay.
-- If a waiter also draws on a limit whose queue has an older waiter, it joins that queue. So no waiter is
-- overtaken on any limit.

local RATES = P .. 'at@rates'
local pokes, grants = {}, {}
local leases, due_at = {}, nil

local function lease_key(proc) return P .. 'leases:' .. proc end

local function get_lease(proc, id)
  local key = proc .. '|' .. id
  if leases[key] == nil then
    local found = redis.call('HGET', lease_key(proc), id)
    leases[key] = found and unpack_(found) or false
  end
  return leases[key]
end

local function put_lease(proc, id, lease)
  leases[proc .. '|' .. id] = lease
  redis.call('HSET', lease_key(proc), id, pack(lease))
end

local function drop_lease(proc, id)
  leases[proc .. '|' .. id] = false
  redis.call('HDEL', lease_key(proc), id)
  redis.call('SREM', P .. 'sent:' .. proc, id)
end

local function take(proc, id, a, names, about)
  for _, name in ipairs(names) do hold(scope(name), a, 1) end
  local lease = { a = a, s = names, about = about, t = NOW }
  rates_take(lease)
  put_lease(proc, id, lease)
end

local function letter(proc, message)
  if proc == PROC then
    grants[#grants + 1] = message
  else
    redis.call('RPUSH', P .. 'mail:' .. proc, pack(message))
    redis.call('EXPIRE', P .. 'mail:' .. proc, 86400)
    pokes[proc] = true
  end
end

-- Return why an amount is refused for good, in a form that the process puts into words. Return nil if the amount is
-- not refused for good.
local function never(names, a)
  for _, name in ipairs(names) do
    local s = scope(name)
    if s.stop then return { 'stopped', name, s.stop } end
    local what = lacks(s, a, false)
    if what then return { 'never', name, what, row(s) } end
  end
  if rates_too_large(a) then return { 'rate', '', 'tokens', R.tpm } end
  return nil
end

local function full(names, a)
  for _, name in ipairs(names) do
    local what = lacks(scope(name), a, true)
    if what then return name, what end
  end
  return nil
end

local function chain(names)
  local keys = {}
  for i, name in ipairs(names) do keys[i] = P .. 'at:' .. name end
  if rates() then keys[#keys + 1] = RATES end
  return keys
end

local function head(place)
  local found = redis.call('ZRANGE', place, 0, 0, 'WITHSCORES')
  return found[1], tonumber(found[2])
end

local function ahead(keys, seq, except)
  for _, place in ipairs(keys) do
    if place ~= except then
      local _, other = head(place)
      if other and (not seq or other < seq) then return place end
    end
  end
  return nil
end

local function queue_at(place, wid, waiter)
  waiter.at = place
  redis.call('ZADD', place, waiter.seq, wid)
  redis.call('SADD', P .. 'lines', place)
  redis.call('HSET', P .. 'waiters', wid, pack(waiter))
end

local function unqueue(wid, waiter)
  redis.call('ZREM', waiter.at, wid)
  redis.call('HDEL', P .. 'waiters', wid)
end

-- Grant or refuse the waiter, and return nil. If it must wait on, return the queue that blocks it.
local function try(wid, waiter)
  local refusal = never(waiter.s, waiter.a)
  if refusal then
    unqueue(wid, waiter)
    letter(waiter.proc, { waiter.id, refusal })
    return nil
  end
  local name = full(waiter.s, waiter.a)
  if name then return P .. 'at:' .. name end
  local due = rates_due(waiter.a)
  if due then
    if due < math.huge then due_at = math.min(due_at or due, due) end
    return RATES
  end
  unqueue(wid, waiter)
  take(waiter.proc, waiter.id, waiter.a, waiter.s, waiter.about)
  letter(waiter.proc, { waiter.id, { 'ok' } })
  return nil
end

local freed, freed_list = {}, {}

local function free(keys)
  for _, key in ipairs(keys) do
    if not freed[key] then
      freed[key] = true
      freed_list[#freed_list + 1] = key
    end
  end
end

local function wake()
  local places = freed_list
  while #places > 0 do
    local best, seq, index
    local kept = {}
    for _, place in ipairs(places) do
      local wid, other = head(place)
      if wid then
        kept[#kept + 1] = place
        if not seq or other < seq then best, seq, index = wid, other, #kept end
      end
    end
    places = kept
    if not best then return end
    local found = redis.call('HGET', P .. 'waiters', best)
    local place = places[index]
    if not found then
      redis.call('ZREM', place, best)
    else
      local waiter = unpack_(found)
      local keys = chain(waiter.s)
      local blocking = ahead(keys, seq, place) or try(best, waiter)
      if blocking == nil then -- the waiter has left the queue, so the waiters behind it may fit now
        for _, key in ipairs(keys) do
          local known = false
          for _, other in ipairs(places) do known = known or other == key end
          if not known then places[#places + 1] = key end
        end
      else
        local everyone = blocking == place or blocking == RATES
        for i = waiter.own + 1, #waiter.s do everyone = everyone or blocking == P .. 'at:' .. waiter.s[i] end
        if blocking ~= place then
          redis.call('ZREM', place, best)
          queue_at(blocking, best, waiter)
        end
        -- All other waiters of this queue draw on the blocking limit too, so none of them fits.
        if everyone then table.remove(places, index) end
      end
    end
  end
end

-- Refuse the waiters that draw on a limit, or belong to a process.
local function end_waiters(matches, refusal)
  local all = redis.call('HGETALL', P .. 'waiters')
  for i = 1, #all, 2 do
    local waiter = unpack_(all[i + 1])
    if matches(waiter) then
      unqueue(all[i], waiter)
      if refusal then letter(waiter.proc, { waiter.id, refusal }) end
      free(chain(waiter.s))
    end
  end
end
