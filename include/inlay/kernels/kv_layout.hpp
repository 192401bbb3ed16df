// Where every element of a key/value cache is: constexpr arithmetic only, no SIMD.
//
// Per layer and key/value head, for `capacity` positions (a multiple of 64, kKvChunk):
//   F32, F16, BF16  keys   [capacity / 64][head_dim][64]      positions side by side: a query times 64 keys at once
//                   values [capacity][stride]
//   Q8              keys   int8 [capacity / 64][head_dim4 / 4][64][4], float scale [capacity]
//                   values int8 [capacity / 2][stride][2],             float scale [capacity]
//   Q4              keys   bytes [capacity / 64][head_dim8 / 8][64][4], float scale [head_dim / 32, rounded up][capacity]
//                   values bytes [capacity / 2][stride / 2][2],         float scale [capacity]
// head_dim4 is head_dim rounded up to a multiple of 4, and so on; stride (KvValueStride) to a multiple of 16, of 32 for Q4, or
// 8 for narrow heads of floats; the padding is zero. Four bits count from -8. A byte of a key holds element 8 i + j in its lower
// half and 8 i + 4 + j in its upper one, a byte of a value 32 i + j and 32 i + 16 + j.
// One query over many positions reads all of this from one end to the other: 64 positions and not 16 side by side, so that
// four vectors of scores are computed from one stream of memory and not from four.
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
constexpr std::size_t KvValueStride(KvType type, std::size_t head_dim) {
  if (type == KvType::kQ4) return RoundUp(head_dim, 32);
  return head_dim <= 8 && !IsInteger(type) ? 8 : RoundUp(head_dim, 16);
}

// Bytes of one element; of Q4 they hold two.
constexpr std::size_t KvElementBytes(KvType type) { return type == KvType::kF32 ? 4 : IsInteger(type) ? 1 : 2; }

// Keys, in groups of kKvChunk positions: rows of a group, and bytes of one position in a row.
constexpr std::size_t KvKeyRows(KvType type, std::size_t head_dim) {
  if (type == KvType::kQ4) return DivideUp(head_dim, 8);
  return type == KvType::kQ8 ? RoundUp(head_dim, 4) / 4 : head_dim;
}
constexpr std::size_t KvKeyLaneBytes(KvType type) { return IsInteger(type) ? 4 : KvElementBytes(type); }
// Values: positions side by side, and bytes of one position.
constexpr std::size_t KvValueLanes(KvType type) { return IsInteger(type) ? 2 : 1; }
constexpr std::size_t KvValueRowBytes(KvType type, std::size_t head_dim) {
  return KvValueStride(type, head_dim) * KvElementBytes(type) / (type == KvType::kQ4 ? 2 : 1);
}

// Scales of one position's key, and of its value. Elements of a Q4 key that share a scale.
inline constexpr std::size_t kKvBlock = 32;
constexpr std::size_t KvKeyScales(KvType type, std::size_t head_dim) {
  return type == KvType::kQ4 ? DivideUp(head_dim, kKvBlock) : IsInteger(type) ? 1 : 0;
}
constexpr std::size_t KvValueScales(KvType type) { return IsInteger(type) ? 1 : 0; }

// Integers: bytes before the scales.
constexpr std::size_t KvScaleOffset(KvType type, std::size_t head_dim, std::size_t capacity) {
  return capacity * KvValueRowBytes(type, head_dim);
}

// Bytes of the keys of one layer and head, and of the values; multiples of 64.
constexpr std::size_t KvKeyBytes(KvType type, std::size_t head_dim, std::size_t capacity) {
  return capacity * (KvValueRowBytes(type, head_dim) + KvKeyScales(type, head_dim) * sizeof(float));
}
constexpr std::size_t KvValueBytes(KvType type, std::size_t head_dim, std::size_t capacity) {
  return capacity * (KvValueRowBytes(type, head_dim) + KvValueScales(type) * sizeof(float));
}

INLAY_END_NAMESPACE

#endif  // INLAY_KERNELS_KV_LAYOUT_HPP_
