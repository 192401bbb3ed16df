// Where every byte of a packed weight matrix is: constexpr arithmetic only, no SIMD.
//
// Layout id "R8C4-1". A matrix of [rows, cols] is cut into groups of 8 rows; a group holds all of its columns, groups
// follow each other. Rows are padded with zeros to a multiple of 16 (kRowTile), so that a target with 16 lanes always
// finds a second group. Inside a group, quantised types interleave the 8 rows by 4 consecutive columns: 32 bytes hold 8
// rows x 4 columns (or, for nibbles, two of those). Float types interleave the 16 rows of two groups column by column:
// 16 values hold 16 rows x 1 column (R16C1).
// Quantised columns are padded to whole blocks by the format itself; float columns are stored as they are.
#ifndef INLAY_KERNELS_PACKED_LAYOUT_HPP_
#define INLAY_KERNELS_PACKED_LAYOUT_HPP_

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "inlay/core/checked.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/formats/weight_type.hpp"

INLAY_BEGIN_NAMESPACE

inline constexpr std::string_view kPackedLayoutId = "R8C4-1";

// Rows that kernels process together and work is cut at.
inline constexpr std::size_t kRowTile = 16;
// Rows of one interleaved group of a quantised type.
inline constexpr std::size_t kRowGroup = 8;

// Bytes of one packed block of 8 rows x block_values columns (quantised types).
constexpr std::size_t PackedBlockBytes(WeightType type) {
  switch (type) {
    case WeightType::kQ8_0: return 8 * 2 + 8 * 32;             // f16 d[8]; i8 q[8 k-groups][8 rows][4]
    case WeightType::kQ4_0: return 8 * 2 + 8 * 16;             // f16 d[8]; nibbles[4][32]
    case WeightType::kQ4_1: return 8 * 4 + 8 * 16;             // f16 d[8], m[8]; nibbles[4][32]
    case WeightType::kQ5_0: return 8 * 2 + 8 * 16 + 8 * 4;     // f16 d[8]; nibbles[4][32]; high bits[32]
    case WeightType::kQ5_1: return 8 * 4 + 8 * 16 + 8 * 4;     // f16 d[8], m[8]; nibbles[4][32]; high bits[32]
    case WeightType::kQ4_K: return 8 * 4 + 128 + 8 * 128;      // f16 d[8], dmin[8]; u8 scale[8][8], min[4][8][2]; nibbles
    case WeightType::kQ5_K: return 8 * 4 + 128 + 8 * 128 + 8 * 32;  // ... and 32 bytes of high bits per 32 columns
    case WeightType::kQ6_K: return 8 * 2 + 128 + 8 * 128 + 8 * 64;  // f16 d[8]; i8 scale[16][8]; nibbles; 2-bit planes
    default: return 0;
  }
}

// Bytes of one packed tile of kRowTile rows x cols.
constexpr std::size_t PackedTileBytes(WeightType type, std::size_t cols) {
  const WeightTypeInfo& info = Info(type);
  if (info.block_values == 1) return kRowTile * cols * info.block_bytes;
  return 2 * (cols / info.block_values) * PackedBlockBytes(type);
}

// Bytes of a packed matrix. Tiles follow each other without gaps; matrices start at multiples of 64 in a buffer.
constexpr std::size_t PackedBytes(WeightType type, std::size_t rows, std::size_t cols) {
  return DivideUp(rows, kRowTile) * PackedTileBytes(type, cols);
}

INLAY_END_NAMESPACE

#endif  // INLAY_KERNELS_PACKED_LAYOUT_HPP_
