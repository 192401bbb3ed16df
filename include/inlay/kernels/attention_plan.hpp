// What attention needs to know and how much memory it takes: constexpr arithmetic only, no SIMD.
#ifndef INLAY_KERNELS_ATTENTION_PLAN_HPP_
#define INLAY_KERNELS_ATTENTION_PLAN_HPP_

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "inlay/core/checked.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/kernels/kv_layout.hpp"

INLAY_BEGIN_NAMESPACE

// Which keys a query sees.
enum class AttentionMask : std::uint8_t {
  kCausal,     // up to its own position; with a window the last `window` of them
  kChunked,    // up to its own position, from the beginning of its chunk of `window` positions on
  kSymmetric,  // all `length` positions; with a window those at most window / 2 away
};

// What one key/value head of attention computes.
struct AttentionShape {
  std::size_t group = 1;     // query heads that share the key/value head
  std::size_t capacity = 0;  // positions of the cache, a multiple of kKvChunk
  std::size_t window = 0;    // see AttentionMask; 0: none
  std::size_t length = 0;    // kSymmetric: positions that are filled
  AttentionMask mask = AttentionMask::kCausal;
  float scale = 1.0f;        // factor on every dot product, usually 1 / sqrt(head_dim)
  float softcap = 0.0f;      // scores become softcap * tanh(score / softcap); 0: they stay
  const float* sinks = nullptr;  // [group]: one more score per query head, without a value; nullptr: none

  // First position that a query at `position` sees, and the end of what it sees. Neither decreases with `position`.
  constexpr std::size_t First(std::size_t position) const {
    if (window == 0) return 0;
    if (mask == AttentionMask::kChunked) return position / window * window;
    const std::size_t before = mask == AttentionMask::kSymmetric ? window / 2 : window - 1;
    return position < before ? 0 : position - before;
  }
  constexpr std::size_t End(std::size_t position) const {
    if (mask != AttentionMask::kSymmetric) return position + 1;
    return window == 0 ? length : std::min(length, position + window / 2 + 1);
  }
};

// The spans that a query at `position` reads: [begin, end) in units of kKvSpan.
struct SpanRange {
  std::size_t begin = 0;
  std::size_t end = 0;
  constexpr std::size_t size() const { return end - begin; }
};
constexpr SpanRange AttentionSpans(const AttentionShape& shape, std::size_t position) {
  return {shape.First(position) / kKvSpan, DivideUp(shape.End(position), kKvSpan)};
}

// The result of one query over one span: the largest score, the sum of e^(score - largest), fourteen floats that mean
// nothing later, and the values weighted by e^(score - largest), padded to a multiple of 16.
constexpr std::size_t PartialStride(std::size_t value_dim) { return 16 + RoundUp(value_dim, 16); }

// Floats that hold the partial results of one key/value head: [spans][group][PartialStride].
constexpr std::size_t AttentionPartialFloats(std::size_t value_dim, std::size_t group, std::size_t spans) {
  return spans * group * PartialStride(value_dim);
}

// Floats from one query's scores to the next; not a power of two, which would map all rows to the same cache sets.
inline constexpr std::size_t kAttentionScoreStride = kKvSpan + 16;

// Queries (token and head) that go through a span together: enough to pay for reading keys and values from the second
// level cache, few enough that scores and results stay in the first one. A multiple of the register tile's 6.
inline constexpr std::size_t kMaxAttentionRows = 18;
constexpr std::size_t AttentionRows(std::size_t head_dim, std::size_t value_dim) {
  const std::size_t width = std::max(head_dim, value_dim);
  return width <= 64 ? kMaxAttentionRows : width <= 128 ? 12 : 6;
}

// Floats of working memory of one call of AttendTokens or AttendSpans, at a multiple of 64 bytes; calls that run at the
// same time need one each. At most 45 KiB.
constexpr std::size_t AttentionScratchFloats(std::size_t head_dim, std::size_t value_dim) {
  return AttentionRows(head_dim, value_dim) *
         (2 * PartialStride(value_dim) + RoundUp(head_dim, 16) + kAttentionScoreStride + 16 +
          RoundUp(DivideUp(head_dim, kKvBlock), 16));
}

INLAY_END_NAMESPACE

#endif  // INLAY_KERNELS_ATTENTION_PLAN_HPP_
