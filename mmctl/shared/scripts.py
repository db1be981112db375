"""What Redis does in one step, by its own clock."""

from __future__ import annotations

EPOCH = """
local stored = redis.call('GET', KEYS[1])
local number = tonumber(stored or '0')
if number == nil then return redis.error_reply('rubbish in ' .. KEYS[1]) end
local epoch = math.max(number, tonumber(ARGV[1])) + 1
redis.call('SET', KEYS[1], string.format('%.0f', epoch))
return epoch
"""
"""One more than the largest of what is stored and ``ARGV[1]``."""

MARK_STOP = """
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_ms)
redis.call('ZREM', KEYS[1], ARGV[1])
local keep_ms = tonumber(ARGV[2])
if keep_ms > 0 then redis.call('ZADD', KEYS[1], now_ms + keep_ms, ARGV[1]) end
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
if last[2] then redis.call('PEXPIREAT', KEYS[1], last[2]) end
return 1
"""
"""The stop ``ARGV[1]`` sweeps for ``ARGV[2]`` ms from now, zero: no more. Each member's score is its end."""

STOPS = """
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
return redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. string.format('%.0f', now_ms), '+inf')
"""
"""The stops that sweep now."""
