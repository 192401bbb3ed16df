// How a layer's work is cut for threads: ranges of matrix rows and of tokens. Where a range is cut never changes a
// result, only who computes it.
#ifndef INLAY_LAYERS_PARTITION_HPP_
#define INLAY_LAYERS_PARTITION_HPP_

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "inlay/core/checked.hpp"
#include "inlay/core/executor.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/kernels/packed_layout.hpp"

INLAY_BEGIN_NAMESPACE

// Below this many multiply-accumulates a product stays on the calling thread: handing it out costs about as much
// (~1 us for a spinning pool, several when a worker slept).
inline constexpr std::size_t kSerialMacs = std::size_t{1} << 16;

// How `units` of work are cut into tasks that `threads` threads claim in order. Every round of tasks, one for each thread, takes
// three fifths of what is left, until tasks are a 64th of a thread's part. Long ranges of weights come first, which memory
// delivers faster than short ones, and what one thread may still have to do when the others have run out of tasks is little; a
// thread that the system delays, or that is slower, leaves its share to others. Against eight equal tasks a thread, two threads
// of a Zen 5 generate 1.02 to 1.3 times as fast and read a prompt 1.02 to 1.07 times as fast.
class TaskCuts {
 public:
  constexpr TaskCuts(std::size_t units, std::size_t threads)
      : units_(units), threads_(threads), smallest_(std::max<std::size_t>(1, units / (64 * threads))) {}

  // Number of tasks: no more than 8 for each thread.
  constexpr std::size_t Count() const {
    const Round last = LastRound(SIZE_MAX);
    return last.task + DivideUp(units_ - last.begin, last.size);
  }
  // Where task number `task` begins; the number of units after the last.
  constexpr std::size_t Begin(std::size_t task) const {
    const Round round = LastRound(task);
    return std::min(units_, round.begin + (task - round.task) * round.size);
  }

 private:
  // A round's first task, where it begins, and the size of each of the round.
  struct Round {
    std::size_t task, begin, size;
  };
  // The last round that begins with `task` or before. That of the smallest tasks is as long as it needs to be.
  [[gnu::noinline]] constexpr Round LastRound(std::size_t task) const {
    Round round{0, 0, Size(units_)};
    while (round.size > smallest_ && task - round.task >= threads_) {
      round.task += threads_;
      round.begin += threads_ * round.size;
      round.size = Size(units_ - round.begin);
    }
    return round;
  }
  constexpr std::size_t Size(std::size_t left) const { return std::max(smallest_, 3 * left / (5 * threads_)); }

  std::size_t units_, threads_, smallest_;
};

// Rows at which a product's work may be cut: whole row tiles. Kernels for many tokens multiply two at a time, and one that is left
// alone costs as much as two.
constexpr std::size_t RowUnit(std::size_t tokens) { return tokens < 16 ? kRowTile : 2 * kRowTile; }
// The same for matrices whose rows are heads: whole heads too. Their least common multiple, of which one is a power of two.
constexpr std::size_t HeadUnit(std::size_t head_dim, std::size_t tokens) {
  const std::size_t unit = RowUnit(tokens);
  return head_dim * (unit >> std::countr_zero(head_dim | unit));
}

// Cuts the rows of `kParts` matrices, laid end to end, into tasks at multiples of `unit` rows within each matrix, and
// calls f(part, row_begin, row_end) until every row was covered once. `macs` is the work of all rows together.
template <std::size_t kParts, class F>
void ForRowRanges(ExecutorRef executor, const std::array<std::size_t, kParts>& rows, std::size_t unit, std::size_t macs,
                  F&& f) {
  std::size_t units = 0;
  for (const std::size_t r : rows) units += DivideUp(r, unit);
  const bool serial = executor.concurrency() <= 1 || macs < kSerialMacs;
  const TaskCuts cuts(units, serial ? 1 : executor.concurrency());
  executor.Run(serial ? 1 : cuts.Count(), [&](std::size_t task) {
    std::size_t begin = serial ? 0 : cuts.Begin(task);
    std::size_t end = serial ? units : cuts.Begin(task + 1);
    for (std::size_t part = 0; part < kParts && begin < end; ++part) {
      const std::size_t part_units = DivideUp(rows[part], unit);
      if (begin < part_units) {
        f(part, begin * unit, std::min(rows[part], std::min(end, part_units) * unit));
        begin = part_units;
      }
      begin -= part_units;
      end = end < part_units ? 0 : end - part_units;
    }
  });
}

// Calls f(token_begin, token_end) over all tokens; in parallel when there are enough of them. One token, the common
// case of generation, costs one call.
template <class F>
void ForTokenRanges(ExecutorRef executor, std::size_t tokens, F&& f) {
  constexpr std::size_t kTokensPerTask = 8;
  if (tokens <= kTokensPerTask || executor.concurrency() <= 1) {
    f(std::size_t{0}, tokens);
    return;
  }
  executor.Run(DivideUp(tokens, kTokensPerTask), [&](std::size_t task) {
    const std::size_t begin = task * kTokensPerTask;
    f(begin, std::min(tokens, begin + kTokensPerTask));
  });
}

INLAY_END_NAMESPACE

#endif  // INLAY_LAYERS_PARTITION_HPP_
