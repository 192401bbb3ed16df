// Matrix products with quantised weights for many tokens on Intel's tile multiplier (AMX int8), where the compiler may use
// it and the system lets the process.
//
// Apart because it is another machine: 16 tokens x 16 rows x 64 columns per instruction. K-quants need no step per
// sub-scale here: level * sub-scale is an integer of up to 13 bits, split exactly into 256 * high + low, and both bytes go
// through the multiplier; 256 columns end in one int32 sum, as in the other kernels, so the bits are the same.

#include "inlay/kernels/highway.hpp"

#if defined(INLAY_KERNELS_QUANTIZED_AMX_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_KERNELS_QUANTIZED_AMX_INL_HPP_
#undef INLAY_KERNELS_QUANTIZED_AMX_INL_HPP_
#else
#define INLAY_KERNELS_QUANTIZED_AMX_INL_HPP_
#endif

#undef INLAY_AMX
#if ((defined(__AMX_INT8__) && defined(__AMX_TILE__)) || (defined(__AMXINT8__) && defined(__AMXTILE__))) && \
    defined(__linux__) && HWY_ARCH_X86_64 && HWY_TARGET <= HWY_AVX3
#define INLAY_AMX 1
#else
#define INLAY_AMX 0
#endif

#if INLAY_AMX

#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "inlay/core/macros.hpp"
#include "inlay/formats/weight_type.hpp"
#include "inlay/kernels/packed_layout.hpp"
#include "inlay/kernels/quantized_formats-inl.hpp"
#include "inlay/kernels/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Tokens of one tile, and row tiles that are multiplied with it: 4 sums, so that each tile of activations, which comes from
// the second-level cache, is loaded once for 32 rows.
inline constexpr std::size_t kAmxTokens = 16;
inline constexpr std::size_t kAmxRowTiles = 2;
inline constexpr std::size_t kAmxRows = kAmxRowTiles * kRowTile;
// Tokens that share one unpacking of the weights. Their float sums wait in the caller's buffer.
inline constexpr std::size_t kAmxBlock = 192;

// Asks the system for the tile registers; the answer never changes, but asking takes less than 0.1 us, which is less than
// a cache that threads share is worth. False: they must not be touched.
inline bool AmxPermitted() {
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

// Tiles 0-3: sums [16 tokens][16 rows]. 4, 5: activations [16 tokens][kColumns]. 6, 7: weights [kColumns / 4][16 rows][4].
template <std::size_t kColumns>
HWY_INLINE void ConfigureTiles() {
  struct alignas(64) {
    std::uint8_t palette = 1;
    std::uint8_t start_row = 0;
    std::uint8_t reserved[14] = {};
    std::uint16_t row_bytes[16] = {};
    std::uint8_t rows[16] = {};
  } config;
  for (int tile = 0; tile < 8; ++tile) {
    config.row_bytes[tile] = tile == 4 || tile == 5 ? kColumns : 64;
    config.rows[tile] = tile >= 6 ? kColumns / 4 : 16;
  }
  _tile_loadconfig(&config);
}

// 256 columns (fewer at the end of a row, for formats with blocks of 32) of one row tile. Words as in the packed layout.
template <std::size_t kBlockValues>
struct AmxPanel;
template <>
struct alignas(64) AmxPanel<256> {
  std::uint8_t low[64 * kWordBytes];  // level * sub-scale = 256 * high (signed) + low (unsigned)
  std::uint8_t high[64 * kWordBytes];
  std::uint8_t corrections[8 * kWordBytes];  // see LoadGroupScales
  float block_scales[kRowTile];
  float block_mins[kRowTile];
};
template <>
struct alignas(64) AmxPanel<32> {
  std::uint8_t levels[64 * kWordBytes];  // signed, offset subtracted
  float block_scales[8 * kRowTile];
  float block_mins[8 * kRowTile];
};

template <WeightType kType>
HWY_NOINLINE void UnpackAmx(const std::uint8_t* HWY_RESTRICT block, std::size_t, AmxPanel<256>& panel) {
  const FloatTag df;
  const WordTag di;
  const hn::Repartition<std::int16_t, WordTag> d16;
  hn::Store(LoadBlockScale<kType>(block, 0), df, panel.block_scales);
  Words scales[256 / kGroupColumns<kType>];
  Words corrections[kCorrections<kType>];
  LoadGroupScales<kType>(block, 0, scales, corrections);
  if constexpr (kHasMin<kType>) {
    hn::Store(LoadBlockMin(block, 0), df, panel.block_mins);
    for (std::size_t i = 0; i < kCorrections<kType>; ++i) StoreWords(corrections[i], panel.corrections + i * kWordBytes);
  }
  const hn::Repartition<std::uint8_t, WordTag> d8;
  const auto low_bytes = hn::Set(d16, 0x00FF);
  for (std::size_t i = 0; i < 8; ++i) {
    Words levels[8];
    UnpackLevels<kType>(block + PackedHeaderBytes(kType) + i * PackedLevelBytes(kType), levels);
    HWY_UNROLL(8)
    for (std::size_t word = 0; word < 8; ++word) {
      const Words scale = scales[(8 * i + word) / (kGroupColumns<kType> / 4)];
      const auto pair_scale = hn::BitCast(d16, hn::Or(hn::And(scale, hn::Set(di, 0xFFFF)), hn::ShiftLeft<16>(scale)));
      const auto level = hn::BitCast(d16, levels[word]);
      auto even = hn::And(level, low_bytes);
      auto odd = hn::And(hn::ShiftRight<8>(level), low_bytes);
      if constexpr (kByteOffset<kType> != 0) {
        even = hn::Sub(even, hn::Set(d16, kByteOffset<kType>));
        odd = hn::Sub(odd, hn::Set(d16, kByteOffset<kType>));
      }
      even = hn::Mul(even, pair_scale);
      odd = hn::Mul(odd, pair_scale);
      const auto low = hn::OddEven(hn::BitCast(d8, hn::ShiftLeft<8>(odd)), hn::BitCast(d8, even));
      const auto high = hn::OddEven(hn::BitCast(d8, odd), hn::BitCast(d8, hn::ShiftRight<8>(even)));
      StoreWords(hn::BitCast(di, low), panel.low + (8 * i + word) * kWordBytes);
      StoreWords(hn::BitCast(di, high), panel.high + (8 * i + word) * kWordBytes);
    }
  }
}

template <WeightType kType>
HWY_NOINLINE void UnpackAmx(const std::uint8_t* HWY_RESTRICT packed, std::size_t blocks, AmxPanel<32>& panel) {
  const FloatTag df;
  const hn::Repartition<std::uint8_t, WordTag> d8;
  for (std::size_t b = 0; b < blocks; ++b) {
    const std::uint8_t* header = packed + b * PackedHeaderBytes(kType);
    hn::Store(LoadBlockScale<kType>(header, 0), df, panel.block_scales + b * kRowTile);
    if constexpr (kHasMin<kType>) hn::Store(LoadBlockMin(header, 0), df, panel.block_mins + b * kRowTile);
    Words levels[8];
    UnpackLevels<kType>(packed + blocks * PackedHeaderBytes(kType) + b * PackedLevelBytes(kType), levels);
    HWY_UNROLL(8)
    for (std::size_t word = 0; word < 8; ++word) {
      const auto level = hn::Sub(hn::BitCast(d8, levels[word]), hn::Set(d8, kByteOffset<kType>));
      StoreWords(hn::BitCast(WordTag(), level), panel.levels + (8 * b + word) * kWordBytes);
    }
  }
}

// Integer sums of 16 tokens, as stored from two tiles per row tile: of K-quants the low and high bytes, else two blocks of
// 32 columns.
struct alignas(64) AmxSums {
  std::int32_t sums[kAmxRowTiles][2][kAmxTokens][kRowTile];
};

// results[i][row] += the block for tokens i of [begin, end) of a tile; x starts at the tile's first token. `blocks` is 1.
template <WeightType kType>
HWY_INLINE void AddAmxSums(const AmxPanel<256>* HWY_RESTRICT panels, const AmxSums& sums, const TokenRows& x, std::size_t,
                           std::size_t begin, std::size_t end, float* HWY_RESTRICT results) {
  const FloatTag df;
  const WordTag di;
  const float* token_scales = x.scales + begin * x.scale_stride;
  [[maybe_unused]] const std::int16_t* token_sums = x.sums + begin * x.sum_stride + kCorrectionSums<kType>;
  // In registers: loads are what the tile multiplier leaves least of.
  Floats scales[kAmxRowTiles];
  [[maybe_unused]] Floats mins[kAmxRowTiles];
  [[maybe_unused]] Words corrections[kAmxRowTiles][kCorrections<kType>];
  HWY_UNROLL(2)
  for (std::size_t tile = 0; tile < kAmxRowTiles; ++tile) {
    scales[tile] = hn::Load(df, panels[tile].block_scales);
    if constexpr (kHasMin<kType>) {
      mins[tile] = hn::Load(df, panels[tile].block_mins);
      HWY_UNROLL(8)
      for (std::size_t j = 0; j < kCorrections<kType>; ++j) {
        corrections[tile][j] = LoadAlignedWords(panels[tile].corrections + j * kWordBytes);
      }
    }
  }
  for (std::size_t i = begin; i < end; ++i) {
    const Floats token_scale = hn::Set(df, *token_scales);
    [[maybe_unused]] Words token_words[kCorrections<kType>];
    if constexpr (kHasMin<kType>) {
      HWY_UNROLL(8)
      for (std::size_t j = 0; j < kCorrections<kType>; ++j) token_words[j] = BroadcastWord(token_sums + 2 * j);
      token_sums += x.sum_stride;
    }
    HWY_UNROLL(2)
    for (std::size_t tile = 0; tile < kAmxRowTiles; ++tile) {
      float* to = results + i * kAmxRows + tile * kRowTile;
      const Words high = hn::ShiftLeft<8>(hn::Load(di, sums.sums[tile][1][i]));
      const Words sum = hn::Add(high, hn::Load(di, sums.sums[tile][0][i]));
      Floats value = hn::Mul(hn::ConvertTo(df, sum), scales[tile]);
      if constexpr (kHasMin<kType>) {
        Words correction = MultiplyAddPairs(corrections[tile][0], token_words[0]);
        HWY_UNROLL(8)
        for (std::size_t j = 1; j < kCorrections<kType>; ++j) {
          correction = AccumulatePairs(correction, corrections[tile][j], token_words[j]);
        }
        value = hn::NegMulAdd(hn::ConvertTo(df, correction), mins[tile], value);
      }
      hn::Store(hn::MulAdd(value, token_scale, hn::Load(df, to)), df, to);
    }
    token_scales += x.scale_stride;
  }
}

// The same for `blocks` (1 or 2) blocks of 32 columns; panels and x start at the first of them.
template <WeightType kType>
HWY_INLINE void AddAmxSums(const AmxPanel<32>* HWY_RESTRICT panels, const AmxSums& sums, const TokenRows& x,
                           std::size_t block, std::size_t blocks, std::size_t begin, std::size_t end,
                           float* HWY_RESTRICT results) {
  const FloatTag df;
  const WordTag di;
  for (std::size_t i = begin; i < end; ++i) {
    const float* token_scales = x.scales + i * x.scale_stride + block;
    [[maybe_unused]] const std::int16_t* token_sums = x.sums + i * x.sum_stride + block;
    HWY_UNROLL(2)
    for (std::size_t tile = 0; tile < kAmxRowTiles; ++tile) {
      float* to = results + i * kAmxRows + tile * kRowTile;
      Floats result = hn::Load(df, to);
      for (std::size_t b = 0; b < blocks; ++b) {
        const Floats block_scale = hn::Load(df, panels[tile].block_scales + (block + b) * kRowTile);
        Floats value = hn::Mul(hn::ConvertTo(df, hn::Load(di, sums.sums[tile][b][i])), block_scale);
        if constexpr (kHasMin<kType>) {
          const Floats token_sum = hn::Set(df, static_cast<float>(token_sums[b]));
          value = hn::MulAdd(token_sum, hn::Load(df, panels[tile].block_mins + (block + b) * kRowTile), value);
        }
        result = hn::MulAdd(value, hn::Set(df, token_scales[b]), result);
      }
      hn::Store(result, df, to);
    }
  }
}

// results[i * 32 + r] = row r of two row tiles, `tile_bytes` apart, times slot i: slots [16 t, 16 t + 16) are the tokens
// from start(t) on, for `tiles` tiles of tokens. While the multiplier works on one unit (one tile of tokens times 256 or,
// with blocks of 32, 64 columns), the vector units scale the sums of the one before.
template <WeightType kType, class Start>
HWY_NOINLINE void MultiplyAmx(const std::uint8_t* HWY_RESTRICT packed, std::size_t tile_bytes, std::size_t cols,
                              const TokenRows& x, std::size_t tiles, const Start& start, float* HWY_RESTRICT results) {
  constexpr std::size_t kValues = Info(kType).block_values;
  AmxPanel<kValues> panels[kAmxRowTiles];
  AmxSums sums;
  const std::size_t stride = x.value_stride;
  std::memset(results, 0, tiles * kAmxTokens * kAmxRows * sizeof(float));
  for (std::size_t col = 0; col < cols; col += kColumnGroup) {
    const TokenRows at = x.template FromBlock<kValues>(col / kValues);
    const std::size_t blocks = GroupBlocks(kType, cols - col);
    for (std::size_t tile = 0; tile < kAmxRowTiles; ++tile) {
      UnpackAmx<kType>(packed + tile * tile_bytes + col / kValues * PackedBlockBytes(kType), blocks, panels[tile]);
    }
    // The compiler does not know that tile loads read memory.
    asm volatile("" : : "r"(panels) : "memory");

    const std::size_t parts = DivideUp(blocks, 2);  // units of one tile of tokens
    std::size_t tile_before = 0, part_before = 0;
    const auto add_before = [&](std::size_t begin, std::size_t end) HWY_ATTR __attribute__((always_inline)) {
      const std::size_t left = blocks - 2 * part_before;
      if constexpr (kValues == 256) {
        AddAmxSums<kType>(panels, sums, at.From(start(tile_before)), 0, begin, end,
                          results + tile_before * kAmxTokens * kAmxRows);
      } else {
        AddAmxSums<kType>(panels, sums, at.From(start(tile_before)), 2 * part_before, left < 2 ? left : 2, begin, end,
                          results + tile_before * kAmxTokens * kAmxRows);
      }
    };
    bool has_before = false;
    for (std::size_t tile = 0; tile < tiles; ++tile) {
      const std::int8_t* values = at.values + start(tile) * stride;
      for (std::size_t part = 0; part < parts; ++part) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        if constexpr (kValues == 256) {
          for (std::size_t half = 0; half < 2; ++half) {
            HWY_UNROLL(2)
            for (std::size_t quarter = 2 * half; quarter < 2 * half + 2; ++quarter) {
              const std::size_t word = 16 * quarter;
              _tile_loadd(4, values + 64 * quarter, stride);
              _tile_loadd(6, panels[0].low + word * kWordBytes, kWordBytes);
              _tile_dpbsud(0, 4, 6);
              _tile_loadd(7, panels[0].high + word * kWordBytes, kWordBytes);
              _tile_dpbssd(1, 4, 7);
              _tile_loadd(6, panels[1].low + word * kWordBytes, kWordBytes);
              _tile_dpbsud(2, 4, 6);
              _tile_loadd(7, panels[1].high + word * kWordBytes, kWordBytes);
              _tile_dpbssd(3, 4, 7);
            }
            if (has_before) add_before(8 * half, 8 * half + 8);
          }
        } else {
          // Of the last block without a partner, what follows is multiplied too, and not used.
          _tile_loadd(4, values + 64 * part, stride);
          _tile_loadd(6, panels[0].levels + 16 * part * kWordBytes, kWordBytes);
          _tile_dpbssd(0, 4, 6);
          _tile_loadd(7, panels[1].levels + 16 * part * kWordBytes, kWordBytes);
          _tile_dpbssd(2, 4, 7);
          _tile_loadd(5, values + 64 * part + 32, stride);
          _tile_loadd(6, panels[0].levels + (16 * part + 8) * kWordBytes, kWordBytes);
          _tile_dpbssd(1, 5, 6);
          _tile_loadd(7, panels[1].levels + (16 * part + 8) * kWordBytes, kWordBytes);
          _tile_dpbssd(3, 5, 7);
          if (has_before) add_before(0, kAmxTokens);
        }
        _tile_stored(0, sums.sums[0][0], kWordBytes);
        _tile_stored(1, sums.sums[0][1], kWordBytes);
        _tile_stored(2, sums.sums[1][0], kWordBytes);
        _tile_stored(3, sums.sums[1][1], kWordBytes);
        has_before = true;
        tile_before = tile;
        part_before = part;
      }
    }
    add_before(0, kAmxTokens);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // INLAY_AMX

#endif  // toggle guard
