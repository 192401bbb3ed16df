// How a layer's work is cut for threads: ranges of matrix rows and of tokens. Where a range is cut never changes a
// result, only who computes it.
#ifndef INLAY_LAYERS_PARTITION_HPP_
#define INLAY_LAYERS_PARTITION_HPP_

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>

#include "inlay/core/checked.hpp"
#include "inlay/core/executor.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/kernels/packed_layout.hpp"

INLAY_BEGIN_NAMESPACE

// Below this many multiply-accumulates a product stays on the calling thread: handing it out costs about as much
// (~1 us for a spinning pool, several when a worker slept).
inline constexpr std::size_t kSerialMacs = std::size_t{1} << 16;
// Tasks per thread. Threads claim tasks as they finish, so a thread that the system delays leaves its share to others.
inline constexpr std::size_t kTasksPerThread = 8;

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
  const std::size_t tasks = serial ? 1 : std::min(units, executor.concurrency() * kTasksPerThread);
  executor.Run(tasks, [&](std::size_t task) {
    std::size_t begin = task * units / tasks;
    std::size_t end = (task + 1) * units / tasks;
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
