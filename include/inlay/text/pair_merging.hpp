// The engine of byte-pair encodings: of all neighbours that can become one the best pair is joined first, until no pair
// is left. Which pairs can, and which is best, is the algorithm's own.
#ifndef INLAY_TEXT_PAIR_MERGING_HPP_
#define INLAY_TEXT_PAIR_MERGING_HPP_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>

#include "inlay/core/macros.hpp"
#include "inlay/core/token.hpp"

INLAY_BEGIN_NAMESPACE
namespace detail {

// A stretch of a word that is one token so far.
struct MergeSymbol {
  std::uint32_t start;
  TokenId id;  // kNoToken: not known yet, or none
  std::int32_t previous;
  std::int32_t next;  // kNone: the last; kMerged: no longer there

  static constexpr std::int32_t kNone = -1;
  static constexpr std::int32_t kMerged = -2;
};

// What two neighbours become. The greater `order` comes first; of equals, the pair further left.
struct Joined {
  TokenId id = kNoToken;  // kNoToken: they do not join
  std::uint32_t order = 0;
};

// `Joiner` says with Join(left, right, end) what the symbols `left` and `right`, which ends at byte `end`, become.
// Time O(n log n) in the symbols, constant stack, memory from the caller.
template <class Joiner>
class PairMerger {
 public:
  // A queue starts with fewer pairs than there are symbols, and each of fewer merges takes one pair out and puts two in.
  static constexpr std::size_t kBytesPerSymbol = sizeof(MergeSymbol) + 4 * sizeof(std::uint64_t);
  // More symbols than this are refused by Create.
  static constexpr std::size_t kMaxSymbols = static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max());

  static constexpr std::size_t MemoryBytes(std::size_t symbols) { return symbols * kBytesPerSymbol + alignof(Pair); }

  // In `memory` of at least MemoryBytes(symbols).
  PairMerger(const Joiner& joiner, std::span<std::byte> memory, std::size_t symbols) : joiner_(joiner) {
    void* start = memory.data();
    std::size_t room = memory.size();
    std::byte* next = static_cast<std::byte*>(std::align(alignof(Pair), symbols * kBytesPerSymbol, start, room));
    pairs_ = {reinterpret_cast<Pair*>(next), 2 * symbols};
    symbols_ = {reinterpret_cast<MergeSymbol*>(next + pairs_.size_bytes()), symbols};
  }

  // The symbols in order, then Merge, then the outcome.
  void Add(std::uint32_t start, TokenId id) {
    symbols_[static_cast<std::size_t>(count_)] = {start, id, count_ - 1, count_ + 1};
    ++count_;
  }

  // `end`: of the text, which is not empty.
  void Merge(std::uint32_t end) {
    end_ = end;
    symbols_[static_cast<std::size_t>(count_ - 1)].next = MergeSymbol::kNone;
    for (std::int32_t left = 0; left + 1 < count_; ++left) {
      if (MakePair(left)) ++pair_count_;
    }
    std::make_heap(pairs_.begin(), PairsEnd(), Worse());
    while (pair_count_ != 0) {
      std::pop_heap(pairs_.begin(), PairsEnd(), Worse());
      const Pair pair = pairs_[--pair_count_];
      MergeSymbol& left = At(pair.left());
      // Stale when either has changed since: then the sizes do not add up.
      if (left.next < 0 || End(left.next) - left.start != pair.size) continue;
      MergeSymbol& right = At(left.next);
      left.id = pair.id;
      left.next = right.next;
      right.next = MergeSymbol::kMerged;
      if (left.next != MergeSymbol::kNone) At(left.next).previous = pair.left();
      if (left.previous != MergeSymbol::kNone) Push(left.previous);
      Push(pair.left());
    }
  }

  // Calls f(start, end, id) for each symbol that is left.
  template <class Function>
  auto ForEach(Function f) const -> decltype(f(0u, 0u, kNoToken)) {
    for (std::int32_t i = 0; i != MergeSymbol::kNone; i = At(i).next) {
      if (auto done = f(At(i).start, End(i), At(i).id); !done) return done;
    }
    return {};
  }

 private:
  struct Pair {
    std::uint64_t rank;  // the best first: the order above, below it the place, turned round
    std::uint32_t size;
    TokenId id;

    std::int32_t left() const { return static_cast<std::int32_t>(~static_cast<std::uint32_t>(rank)); }
  };
  static_assert(2 * sizeof(Pair) == 4 * sizeof(std::uint64_t));
  // A type, because a function's address is not inlined, and the queue's comparisons are most of the work.
  struct Worse {
    bool operator()(const Pair& a, const Pair& b) const { return a.rank < b.rank; }
  };

  // Writes the pair of `left` and its neighbour behind the queue; false when they do not join.
  bool MakePair(std::int32_t left) {
    const MergeSymbol& symbol = At(left);
    const std::uint32_t end = End(symbol.next);
    const Joined joined = joiner_.Join(symbol, At(symbol.next), end);
    if (joined.id == kNoToken) return false;
    pairs_[pair_count_] = {std::uint64_t{joined.order} << 32 | ~static_cast<std::uint32_t>(left), end - symbol.start,
                           joined.id};
    return true;
  }
  void Push(std::int32_t left) {
    if (At(left).next == MergeSymbol::kNone || !MakePair(left)) return;
    ++pair_count_;
    std::push_heap(pairs_.begin(), PairsEnd(), Worse());
  }

  MergeSymbol& At(std::int32_t i) { return symbols_[static_cast<std::size_t>(i)]; }
  const MergeSymbol& At(std::int32_t i) const { return symbols_[static_cast<std::size_t>(i)]; }
  std::uint32_t End(std::int32_t i) const {
    const std::int32_t next = At(i).next;
    return next == MergeSymbol::kNone ? end_ : At(next).start;
  }
  typename std::span<Pair>::iterator PairsEnd() const {
    return pairs_.begin() + static_cast<std::ptrdiff_t>(pair_count_);
  }

  Joiner joiner_;
  std::span<MergeSymbol> symbols_;
  std::span<Pair> pairs_;  // a heap of pair_count_, the best in front
  std::size_t pair_count_ = 0;
  std::int32_t count_ = 0;
  std::uint32_t end_ = 0;
};

}  // namespace detail
INLAY_END_NAMESPACE

#endif  // INLAY_TEXT_PAIR_MERGING_HPP_
