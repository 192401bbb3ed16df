// Where every element of a key/value cache is: constexpr arithmetic only, no SIMD.
//
// Per layer and key/value head, for `capacity` positions (a multiple of 64, kKvChunk):
//   F32, F16, BF16  keys   [capacity / 16][head_dim][16]      16 positions side by side: a query times 16 keys at once
//                   values [capacity][stride]
//   Q8              keys   int8 [capacity / 16][head_dim4 / 4][16][4], float scale [capacity]
//                   values int8 [capacity][stride],                    float scale [capacity]
// head_dim4 is head_dim rounded up to a multiple of 4, stride (KvValueStride) to a multiple of 16, or 8 for narrow heads;
// the padding is zero. Scales start at the same offset for keys and values (KvScaleOffset).
#ifndef INLAY_KERNELS_KV_LAYOUT_HPP_
#define INLAY_KERNELS_KV_LAYOUT_HPP_

#include <cstddef>

#include "inlay/core/checked.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/formats/kv_type.hpp"

INLAY_BEGIN_NAMESPACE

// Positions that attention processes as one step, aligned to absolute positions; capacities are multiples of it.
inline constexpr std::size_t kKvChunk = 64;
// Positions whose partial results are merged in order: the unit of parallel work when one token attends to a long
// context. Prefill uses the same spans, so both give the same bits.
inline constexpr std::size_t kKvSpan = 256;

// The widest head that a cache can hold.
inline constexpr std::size_t kMaxKvHeadDim = 640;

constexpr std::size_t KvCapacity(std::size_t context) { return RoundUp(context, kKvChunk); }

// Elements from one position's value to the next. Sixteen lanes hold whole positions (two of a head of 8) or a part of one.
constexpr std::size_t KvValueStride(std::size_t head_dim) { return head_dim <= 8 ? 8 : RoundUp(head_dim, 16); }

// Bytes of one element.
constexpr std::size_t KvElementBytes(KvType type) { return type == KvType::kF32 ? 4 : type == KvType::kQ8 ? 1 : 2; }

// Keys, in groups of kKvLanes positions: rows of a group, and bytes of one position in a row.
inline constexpr std::size_t kKvLanes = 16;
constexpr std::size_t KvKeyRows(KvType type, std::size_t head_dim) {
  return type == KvType::kQ8 ? RoundUp(head_dim, 4) / 4 : head_dim;
}
constexpr std::size_t KvKeyLaneBytes(KvType type) { return type == KvType::kQ8 ? 4 : KvElementBytes(type); }

// Q8: bytes before the scales.
constexpr std::size_t KvScaleOffset(std::size_t head_dim, std::size_t capacity) {
  return capacity * KvValueStride(head_dim);
}

// Bytes of the keys of one layer and head, or of the values, with the width of either; a multiple of 64.
constexpr std::size_t KvHeadBytes(KvType type, std::size_t head_dim, std::size_t capacity) {
  const std::size_t elements = capacity * KvValueStride(head_dim);
  switch (type) {
    case KvType::kF32: return elements * 4;
    case KvType::kF16:
    case KvType::kBF16: return elements * 2;
    case KvType::kQ8: return elements + capacity * 4;
  }
  return 0;
}

INLAY_END_NAMESPACE

#endif  // INLAY_KERNELS_KV_LAYOUT_HPP_
