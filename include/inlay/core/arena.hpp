// Hands out aligned pieces of memory that the caller owns. The library's only source of memory after set-up.
#ifndef INLAY_CORE_ARENA_HPP_
#define INLAY_CORE_ARENA_HPP_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>

#include "inlay/core/checked.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"

INLAY_BEGIN_NAMESPACE

// Every piece starts at a multiple of this (a cache line, and the widest vector).
inline constexpr std::size_t kAlignment = 64;

// The bytes that `count` elements of T take in an arena: what memory plans add up, so that plan and arena cannot differ.
template <class T>
constexpr std::size_t ArenaBytes(std::size_t count) {
  return RoundUp(count * sizeof(T), kAlignment);
}

// A bump allocator. Does not own, free or clear. The memory handed over must start at a multiple of kAlignment
// (Arena::Create checks it).
class Arena {
 public:
  static Result<Arena> Create(std::span<std::byte> memory) {
    if (reinterpret_cast<std::uintptr_t>(memory.data()) % kAlignment != 0) {
      return Fail(ErrorCode::kInvalidArgument, "memory", "must start at a multiple of ", kAlignment, " bytes");
    }
    return Arena(memory);
  }

  // `count` elements of T, uninitialised (T must be an implicit-lifetime type). kOutOfMemory when they do not fit;
  // then nothing was taken.
  template <class T>
  Result<std::span<T>> Allocate(std::size_t count, std::string_view what) {
    static_assert(std::is_trivially_destructible_v<T> && alignof(T) <= kAlignment);
    std::uint64_t bytes = 0;
    if (!CheckedMultiply(count, sizeof(T), bytes) || bytes > remaining()) {
      return Fail(ErrorCode::kOutOfMemory, what, "needs ", bytes, " bytes, the memory handed over has ", remaining(),
                  " left; see MemoryPlan");
    }
    const std::size_t taken = RoundUp(static_cast<std::size_t>(bytes), kAlignment);
    T* start = reinterpret_cast<T*>(memory_.data() + used_);
    used_ = taken > memory_.size() - used_ ? memory_.size() : used_ + taken;
    return std::span<T>(start, count);
  }

  std::size_t used() const { return used_; }
  std::size_t remaining() const { return memory_.size() - used_; }

 private:
  explicit Arena(std::span<std::byte> memory) : memory_(memory) {}

  std::span<std::byte> memory_;
  std::size_t used_ = 0;
};

// Has an arena's interface and hands out nothing: it counts. Set-up code is a template on its memory, so the plan of a
// session is computed by the very code that makes the session, at compile time if need be.
class MemoryCounter {
 public:
  template <class T>
  constexpr Result<std::span<T>> Allocate(std::size_t count, std::string_view) {
    used_ += ArenaBytes<T>(count);
    return std::span<T>();
  }
  constexpr std::size_t used() const { return used_; }

 private:
  std::size_t used_ = 0;
};

INLAY_END_NAMESPACE

#endif  // INLAY_CORE_ARENA_HPP_
