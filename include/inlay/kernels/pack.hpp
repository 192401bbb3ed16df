// Weights from the file's row-major blocks to the packed layout and back: exact in both directions. Plain C++, apart from
// the kernels because packing tools and embedding look-ups need no SIMD.
#ifndef INLAY_KERNELS_PACK_HPP_
#define INLAY_KERNELS_PACK_HPP_

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "inlay/core/macros.hpp"
#include "inlay/formats/blocks.hpp"
#include "inlay/formats/codec.hpp"
#include "inlay/formats/float16.hpp"
#include "inlay/formats/weight_type.hpp"
#include "inlay/kernels/packed_layout.hpp"

INLAY_BEGIN_NAMESPACE

namespace detail {

// Reads and writes the levels of one file block. Get: the stored (unsigned) level of value i. Put: into a zeroed block.
template <class Block>
struct BlockLevels;

template <>
struct BlockLevels<BlockQ8_0> {
  static int Get(const BlockQ8_0& block, std::size_t i) { return static_cast<std::uint8_t>(block.qs[i]); }
  static void Put(BlockQ8_0& block, std::size_t i, int level) { block.qs[i] = static_cast<std::int8_t>(level); }
};

template <class Block>
struct FourBitLevels {
  static int Get(const Block& block, std::size_t i) { return block.qs[i % 16] >> (i / 16 * 4) & 15; }
  static void Put(Block& block, std::size_t i, int level) {
    PutBits(block.qs[i % 16], level & 15, static_cast<int>(i / 16 * 4));
  }
};
template <>
struct BlockLevels<BlockQ4_0> : FourBitLevels<BlockQ4_0> {};
template <>
struct BlockLevels<BlockQ4_1> : FourBitLevels<BlockQ4_1> {};
template <>
struct BlockLevels<BlockIQ4_NL> : FourBitLevels<BlockIQ4_NL> {};
template <>
struct BlockLevels<BlockMXFP4> : FourBitLevels<BlockMXFP4> {};

template <class Block>
struct FiveBitLevels {
  static int Get(const Block& block, std::size_t i) {
    return FourBitLevels<Block>::Get(block, i) | (block.qh[i / 8] >> (i % 8) & 1) << 4;
  }
  static void Put(Block& block, std::size_t i, int level) {
    FourBitLevels<Block>::Put(block, i, level);
    PutBits(block.qh[i / 8], level >> 4, static_cast<int>(i % 8));
  }
};
template <>
struct BlockLevels<BlockQ5_0> : FiveBitLevels<BlockQ5_0> {};
template <>
struct BlockLevels<BlockQ5_1> : FiveBitLevels<BlockQ5_1> {};

// 64 values per 32 bytes: the first 32 in the low nibbles.
template <>
struct BlockLevels<BlockQ4_K> {
  static int Get(const BlockQ4_K& block, std::size_t i) {
    return block.qs[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15;
  }
  static void Put(BlockQ4_K& block, std::size_t i, int level) {
    PutBits(block.qs[i / 64 * 32 + i % 32], level, static_cast<int>(i / 32 % 2 * 4));
  }
};
template <>
struct BlockLevels<BlockQ5_K> {
  static int Get(const BlockQ5_K& block, std::size_t i) {
    return (block.qs[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15) | (block.qh[i % 32] >> (i / 32) & 1) << 4;
  }
  static void Put(BlockQ5_K& block, std::size_t i, int level) {
    PutBits(block.qs[i / 64 * 32 + i % 32], level & 15, static_cast<int>(i / 32 % 2 * 4));
    PutBits(block.qh[i % 32], level >> 4, static_cast<int>(i / 32));
  }
};
template <>
struct BlockLevels<BlockQ6_K> {
  static int Get(const BlockQ6_K& block, std::size_t i) {
    return (block.ql[i / 128 * 64 + i % 64] >> (i / 64 % 2 * 4) & 15) |
           (block.qh[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3) << 4;
  }
  static void Put(BlockQ6_K& block, std::size_t i, int level) {
    PutBits(block.ql[i / 128 * 64 + i % 64], level & 15, static_cast<int>(i / 64 % 2 * 4));
    PutBits(block.qh[i / 128 * 32 + i % 32], level >> 4, static_cast<int>(i / 32 % 4 * 2));
  }
};

template <>
struct BlockLevels<BlockIQ4_XS> {
  static int Get(const BlockIQ4_XS& block, std::size_t i) {
    return block.qs[i / 32 * 16 + i % 16] >> (i / 16 % 2 * 4) & 15;
  }
  static void Put(BlockIQ4_XS& block, std::size_t i, int level) {
    PutBits(block.qs[i / 32 * 16 + i % 16], level, static_cast<int>(i / 16 % 2 * 4));
  }
};

// Types whose codec goes value by value itself.
template <WeightType kType>
struct CodecLevels {
  using Block = typename Codec<kType>::Block;
  static int Get(const Block& block, std::size_t i) { return Codec<kType>::LevelOf(block, static_cast<int>(i)); }
  static void Put(Block& block, std::size_t i, int level) {
    Codec<kType>::PutLevel(block, static_cast<int>(i), level);
  }
};
template <>
struct BlockLevels<BlockQ2_K> : CodecLevels<WeightType::kQ2_K> {};
template <>
struct BlockLevels<BlockQ3_K> : CodecLevels<WeightType::kQ3_K> {};
template <>
struct BlockLevels<BlockTQ1_0> : CodecLevels<WeightType::kTQ1_0> {};
template <>
struct BlockLevels<BlockTQ2_0> : CodecLevels<WeightType::kTQ2_0> {};

// Sub-scales are packed in words of four bytes, in an order in which kernels find neighbours in bytes 0 and 2, and 1 and
// 3. kScaleWords: how many words a block has. ExchangeScales: from the file's order and back; its own inverse.
template <class Block>
inline constexpr std::size_t kScaleWords = 0;
template <>
inline constexpr std::size_t kScaleWords<BlockQ2_K> = 4;
template <>
inline constexpr std::size_t kScaleWords<BlockQ3_K> = 3;
template <>
inline constexpr std::size_t kScaleWords<BlockQ4_K> = 3;
template <>
inline constexpr std::size_t kScaleWords<BlockQ5_K> = 3;

template <class Block>
void ExchangeScales(std::uint8_t* scales) {
  const auto exchange = [](std::uint8_t& a, std::uint8_t& b, int mask) {
    const int difference = (a ^ b) & mask;
    a = static_cast<std::uint8_t>(a ^ difference);
    b = static_cast<std::uint8_t>(b ^ difference);
  };
  if constexpr (requires(Block block) { block.hmask; } || sizeof(Block::scales) == 16) {
    for (std::size_t i = 0; i < sizeof(Block::scales); i += 4) exchange(scales[i + 1], scales[i + 2], 0xFF);
  } else {
    // Mins 1 and 2, and 5 and 6. Min i (0..3) is in bits 0..5 of byte 4 + i; min 4 + i has its low nibble in the high
    // nibble of byte 8 + i, and its upper bits in bits 6, 7 of byte 4 + i.
    exchange(scales[5], scales[6], 0xFF);
    exchange(scales[9], scales[10], 0xF0);
  }
}

// Calls move(field, bytes, offset) for every field of Block but its levels: where it is in the header of a packed block, for
// row `lane` (0..15). kScaleWords are not among them.
template <class Block, class Move>
void ForHeaderFields(Block& block, std::size_t lane, Move&& move) {
  if constexpr (requires { block.e; }) {
    move(&block.e, 1, lane);
  } else {
    move(&block.d, 2, 2 * lane);
  }
  if constexpr (requires { block.m; }) move(&block.m, 2, 32 + 2 * lane);
  if constexpr (requires { block.dmin; }) move(&block.dmin, 2, 32 + 2 * lane);
  if constexpr (requires { block.scales_h; }) {
    move(&block.scales_h, 2, 32 + 2 * lane);
    move(block.scales_l, 4, 64 + 4 * lane);
  }
  if constexpr (std::is_same_v<std::remove_const_t<Block>, BlockQ6_K>) {
    for (std::size_t i = 0; i < 16; ++i) move(block.scales + i, 1, 32 + i * kRowTile + lane);
  }
}
// Where the words of row `lane` start.
template <class Block>
constexpr std::size_t ScaleWordsAt(std::size_t lane) {
  return (requires(Block block) { block.dmin; } ? 64 : 32) + 4 * lane;
}

template <class Block>
void PackHeader(const Block& block, std::byte* header, std::size_t lane) {
  ForHeaderFields(block, lane, [header](const void* field, std::size_t bytes, std::size_t offset) {
    std::memcpy(header + offset, field, bytes);
  });
  if constexpr (kScaleWords<Block> != 0) {
    std::uint8_t scales[4 * kScaleWords<Block>];
    std::memcpy(scales, block.scales, sizeof(scales));
    ExchangeScales<Block>(scales);
    std::byte* words = header + ScaleWordsAt<Block>(lane);
    for (std::size_t i = 0; i < kScaleWords<Block>; ++i) std::memcpy(words + i * kWordBytes, scales + 4 * i, 4);
  }
}
template <class Block>
void UnpackHeader(const std::byte* header, std::size_t lane, Block& block) {
  ForHeaderFields(block, lane, [header](void* field, std::size_t bytes, std::size_t offset) {
    std::memcpy(field, header + offset, bytes);
  });
  if constexpr (kScaleWords<Block> != 0) {
    const std::byte* words = header + ScaleWordsAt<Block>(lane);
    for (std::size_t i = 0; i < kScaleWords<Block>; ++i) std::memcpy(block.scales + 4 * i, words + i * kWordBytes, 4);
    ExchangeScales<Block>(block.scales);
  }
}

// Value i (0 .. 31) of row `lane`: its bytes in the level words of 16 rows x 32 columns.
inline std::size_t PackedByte(std::size_t word, std::size_t lane, std::size_t i) {
  return word * kWordBytes + 4 * lane + i % 4;
}
template <int kBits>
void PutPackedLevel(std::uint8_t* levels, std::size_t lane, std::size_t i, int level) {
  const std::size_t group = i / 4;  // of 4 columns
  if constexpr (kBits == 8) {
    levels[PackedByte(group, lane, i)] = static_cast<std::uint8_t>(level);
  } else if constexpr (kBits == 2) {
    PutBits(levels[PackedByte(group / 4, lane, i)], level, static_cast<int>(group % 4 * 2));
  } else if constexpr (kBits == 3) {
    if (group < 6) {
      PutBits(levels[PackedByte(group / 2, lane, i)], level, static_cast<int>(group % 2 * 3));
    } else {
      PutBits(levels[PackedByte(group - 6, lane, i)], level & 3, 6);
      PutBits(levels[PackedByte(2, lane, i)], level >> 2, static_cast<int>(group));
    }
  } else {
    PutBits(levels[PackedByte(group % 4, lane, i)], level & 15, static_cast<int>(group / 4 * 4));
    if constexpr (kBits == 5) PutBits(levels[PackedByte(4, lane, i)], level >> 4, static_cast<int>(group));
    if constexpr (kBits == 6) {
      PutBits(levels[PackedByte(4 + group / 4, lane, i)], level >> 4, static_cast<int>(group % 4 * 2));
    }
  }
}
template <int kBits>
int GetPackedLevel(const std::uint8_t* levels, std::size_t lane, std::size_t i) {
  const std::size_t group = i / 4;
  if constexpr (kBits == 8) return levels[PackedByte(group, lane, i)];
  if constexpr (kBits == 2) return levels[PackedByte(group / 4, lane, i)] >> (group % 4 * 2) & 3;
  if constexpr (kBits == 3) {
    if (group < 6) return levels[PackedByte(group / 2, lane, i)] >> (group % 2 * 3) & 7;
    return levels[PackedByte(group - 6, lane, i)] >> 6 | (levels[PackedByte(2, lane, i)] >> group & 1) << 2;
  }
  int level = levels[PackedByte(group % 4, lane, i)] >> (group / 4 * 4) & 15;
  if constexpr (kBits == 5) level |= (levels[PackedByte(4, lane, i)] >> group & 1) << 4;
  if constexpr (kBits == 6) level |= (levels[PackedByte(4 + group / 4, lane, i)] >> (group % 4 * 2) & 3) << 4;
  return level;
}

// Calls use(b, header, levels) for every block of a packed tile at `tile`, in order.
template <WeightType kType, class Byte, class Use>
void ForPackedBlocks(Byte* tile, std::size_t cols, Use&& use) {
  constexpr std::size_t kValues = Info(kType).block_values;
  Byte* at = tile;
  for (std::size_t col = 0; col < cols; col += kColumnGroup) {
    const std::size_t blocks = GroupBlocks(kType, cols - col);
    Byte* const levels = at + blocks * PackedHeaderBytes(kType);
    for (std::size_t b = 0; b < blocks; ++b) {
      use(col / kValues + b, at + b * PackedHeaderBytes(kType), levels + b * (kValues / 32) * PackedLevelBytes(kType));
    }
    at += blocks * PackedBlockBytes(kType);
  }
}

// The scale of `count` F16 weights, as BF16. Infinite where a weight is not finite.
inline std::uint16_t Int16Scale(const std::byte* weights, std::size_t count) {
  std::uint16_t most = 0;
  double squares = 0.0;
  for (std::size_t k = 0; k < count; ++k) {
    std::uint16_t bits;
    std::memcpy(&bits, weights + k * sizeof(bits), sizeof(bits));
    bits &= 0x7FFF;
    most = std::max(most, bits);
    // F16ToF32 of what is finite, in less time.
    const float value = bits < 0x0400 ? static_cast<float>(bits) * 0x1p-24f
                                      : std::bit_cast<float>(std::uint32_t{bits} << 13) * 0x1p112f;
    squares += static_cast<double>(value) * static_cast<double>(value);
  }
  if (most == 0) return F32ToBF16(1.0f);
  if (most >= 0x7C00) return F32ToBF16(std::numeric_limits<float>::infinity());
  const double scale = std::max(static_cast<double>(F16ToF32(most)) / static_cast<double>(kInt16Most),
                                std::sqrt(squares) / static_cast<double>(kInt16Norm));
  // The last bit of float32 makes no difference to the sums; those below it are rounded up.
  return static_cast<std::uint16_t>((std::bit_cast<std::uint32_t>(static_cast<float>(scale)) + 0xFFFFu) >> 16);
}

// The scales of F16 rows, before the columns of their tile.
inline void StoreInt16Scales(const std::byte* rows, std::size_t row_bytes, std::size_t valid_rows, std::size_t cols,
                             std::byte* tile) {
  for (std::size_t first = 0; first < cols; first += kInt16Block) {
    for (std::size_t lane = 0; lane < kRowTile; ++lane) {
      const std::size_t count = lane < valid_rows ? std::min(kInt16Block, cols - first) : 0;
      const std::uint16_t scale = Int16Scale(rows + lane * row_bytes + first * sizeof(scale), count);
      std::memcpy(tile + (first / kInt16Block * kRowTile + lane) * sizeof(scale), &scale, sizeof(scale));
    }
  }
}

// Packs `count` columns from `begin` on, at `rows`, of a tile of `cols` columns.
template <WeightType kType>
void PackColumnsAs(const std::byte* rows, std::size_t row_bytes, std::size_t valid_rows, std::size_t begin, std::size_t count,
                   std::size_t cols, std::byte* tile) {
  if constexpr (Info(kType).block_values == 1) {
    constexpr std::size_t kSize = Info(kType).block_bytes;
    std::byte* const columns = tile + PackedColumnsAt(kType, cols) + begin * kRowTile * kSize;
    std::memset(columns, 0, count * kRowTile * kSize);
    for (std::size_t lane = 0; lane < valid_rows; ++lane) {
      for (std::size_t k = 0; k < count; ++k) {
        std::memcpy(columns + (k * kRowTile + lane) * kSize, rows + lane * row_bytes + k * kSize, kSize);
      }
    }
    if constexpr (kType == WeightType::kF16) {
      StoreInt16Scales(rows, row_bytes, valid_rows, count, tile + begin / kInt16Block * kRowTile * kSize);
    }
  } else {
    using Block = typename Codec<kType>::Block;
    constexpr std::size_t kValues = Info(kType).block_values;
    std::byte* const first = tile + PackedTileBytes(kType, begin);
    std::memset(first, 0, PackedTileBytes(kType, count));
    ForPackedBlocks<kType>(first, count, [&](std::size_t b, std::byte* header, std::byte* level_bytes) {
      auto* levels = reinterpret_cast<std::uint8_t*>(level_bytes);
      for (std::size_t lane = 0; lane < valid_rows; ++lane) {
        Block block;
        std::memcpy(&block, rows + lane * row_bytes + b * sizeof(Block), sizeof(Block));
        PackHeader(block, header, lane);
        for (std::size_t i = 0; i < kValues; ++i) {
          PutPackedLevel<LevelBits(kType)>(levels + i / 32 * PackedLevelBytes(kType), lane, i % 32,
                                           BlockLevels<Block>::Get(block, i));
        }
      }
    });
  }
}

template <WeightType kType>
void UnpackRowAs(const std::byte* packed, std::size_t cols, std::size_t row, float* out) {
  const std::byte* tile = packed + row / kRowTile * PackedTileBytes(kType, cols);
  const std::size_t lane = row % kRowTile;
  if constexpr (Info(kType).block_values == 1) {
    const std::byte* const columns = tile + PackedColumnsAt(kType, cols);
    typename Codec<kType>::Block value;
    for (std::size_t k = 0; k < cols; ++k) {
      std::memcpy(&value, columns + (k * kRowTile + lane) * sizeof(value), sizeof(value));
      Codec<kType>::Decode(value, out + k);
    }
  } else {
    using Block = typename Codec<kType>::Block;
    constexpr std::size_t kValues = Info(kType).block_values;
    ForPackedBlocks<kType>(tile, cols, [&](std::size_t b, const std::byte* header, const std::byte* level_bytes) {
      const auto* levels = reinterpret_cast<const std::uint8_t*>(level_bytes);
      Block block{};
      UnpackHeader(header, lane, block);
      for (std::size_t i = 0; i < kValues; ++i) {
        BlockLevels<Block>::Put(
            block, i, GetPackedLevel<LevelBits(kType)>(levels + i / 32 * PackedLevelBytes(kType), lane, i % 32));
      }
      Codec<kType>::Decode(block, out + b * kValues);
    });
  }
}

}  // namespace detail

// Packs a part of one tile of [16, cols]: `valid_rows` (1 .. 16) rows of `count` values, `row_bytes` apart and of any
// alignment, which are its columns from `begin` on, a multiple of kColumnGroup; rows beyond are zeros. cols and `count` are
// multiples of the type's block_values and the type one of AllFormats. Does not overlap. Tiles and their parts are independent
// of each other: pack them in parallel.
inline void PackColumns(WeightType type, const std::byte* rows, std::size_t row_bytes, std::size_t valid_rows,
                        std::size_t begin, std::size_t count, std::size_t cols, std::byte* tile) {
  // Between the scales and the columns may be a gap.
  if (begin == 0) std::memset(tile, 0, PackedColumnsAt(type, cols));
  detail::ForType(type, AllFormats{}, [&]<WeightType kType>() {
    detail::PackColumnsAs<kType>(rows, row_bytes, valid_rows, begin, count, cols, tile);
  });
}

// Packs one whole tile into the PackedTileBytes(type, cols) bytes at `tile`.
inline void PackTile(WeightType type, const std::byte* rows, std::size_t row_bytes, std::size_t valid_rows,
                     std::size_t cols, std::byte* tile) {
  PackColumns(type, rows, row_bytes, valid_rows, 0, cols, cols, tile);
}

// Decodes row `row` of a packed matrix: `cols` floats, to the bit those of DecodeRow on the row in the file. For embedding
// look-ups. Cost: a few ns per value, scalar.
// Only the types of FormatList are compiled in.
template <class FormatList = AllFormats>
void UnpackRow(WeightType type, const std::byte* packed, std::size_t cols, std::size_t row, float* out) {
  detail::ForType(type, FormatList{}, [&]<WeightType kType>() {
    detail::UnpackRowAs<PackedForm(kType)>(packed, cols, row, out);
  });
}

INLAY_END_NAMESPACE

#endif  // INLAY_KERNELS_PACK_HPP_
