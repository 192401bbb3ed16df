// Matrix products with quantised weights for many tokens on tiles of int8 (amx_tiles-inl.hpp).
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

#include "inlay/kernels/amx_tiles-inl.hpp"

#if INLAY_AMX

#include <immintrin.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "inlay/core/macros.hpp"
#include "inlay/formats/weight_type.hpp"
#include "inlay/kernels/output.hpp"
#include "inlay/kernels/packed_layout.hpp"
#include "inlay/kernels/quantized_formats-inl.hpp"
#include "inlay/kernels/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Adding this integer to one of up to 22 bits gives the float kAmxFloat plus it, without a multiplier (see amx_tiles-inl.hpp).
inline constexpr std::int32_t kAmxWord = 0x4B400000;
inline constexpr float kAmxFloat = 12582912.0f;  // 1.5 * 2^23

// Bytes of each 32-bit lane: 0 .. 3 from the lane, 4: zero.
template <int k0, int k1, int k2, int k3>
HWY_INLINE Words ShuffleBytes(Words v) {
  const auto lane = [](int i) {
    const auto byte = [&](int k) { return static_cast<std::uint32_t>(k == 4 ? 0x80 : 4 * i + k); };
    return static_cast<int>(byte(k0) | byte(k1) << 8 | byte(k2) << 16 | byte(k3) << 24);
  };
  return Words{_mm512_shuffle_epi8(v.raw, _mm512_set4_epi32(lane(3), lane(2), lane(1), lane(0)))};
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
  constexpr std::size_t kGroupWords = kGroupColumns<kType> / 4;
  const FloatTag df;
  const hn::Repartition<std::int16_t, WordTag> d16;
  hn::Store(LoadBlockScale<kType>(block, 0), df, panel.block_scales);
  Words scales[256 / kGroupColumns<kType>];
  Words corrections[kCorrections<kType>];
  LoadGroupScales<kType>(block, 0, scales, corrections);
  if constexpr (kHasMin<kType>) {
    hn::Store(LoadBlockMin(block, 0), df, panel.block_mins);
    for (std::size_t i = 0; i < kCorrections<kType>; ++i) StoreWords(corrections[i], panel.corrections + i * kWordBytes);
  }
  // Each byte's neighbour, by its place in 16 bytes.
  const __m512i neighbours = _mm512_set4_epi32(0x0E0F0C0D, 0x0A0B0809, 0x06070405, 0x02030001);
  std::uint8_t* low = panel.low;
  std::uint8_t* high = panel.high;
  const Words* scale = scales;
  for (std::size_t i = 0; i < 8; ++i) {
    Words levels[8];
    UnpackLevels<kType>(block + PackedHeaderBytes(kType) + i * PackedLevelBytes(kType), levels);
    HWY_UNROLL(2)
    for (std::size_t first = 0; first < 8; first += kGroupWords, ++scale) {
      // The sub-scale, of up to 8 bits, where the even and where the odd bytes of a word are multiplied with it.
      const Words even_scale = ShuffleBytes<0, 4, 0, 4>(*scale);
      const Words odd_scale = ShuffleBytes<4, 0, 4, 0>(*scale);
      [[maybe_unused]] auto excess = hn::Zero(d16);
      if constexpr (kByteOffset<kType> != 0) {
        const Words offsets = hn::BitCast(WordTag(), hn::Set(d16, kByteOffset<kType>));
        excess = hn::BitCast(d16, Words{_mm512_maddubs_epi16(offsets.raw, even_scale.raw)});
      }
      HWY_UNROLL(8)
      for (std::size_t word = first; word < first + kGroupWords; ++word, low += kWordBytes, high += kWordBytes) {
        __m512i even = _mm512_maddubs_epi16(levels[word].raw, even_scale.raw);
        __m512i odd = _mm512_maddubs_epi16(levels[word].raw, odd_scale.raw);
        if constexpr (kByteOffset<kType> != 0) {
          even = _mm512_sub_epi16(even, excess.raw);
          odd = _mm512_sub_epi16(odd, excess.raw);
        }
        // Low bytes of both, and high bytes of both.
        StoreWords(Words{_mm512_mask_shuffle_epi8(even, 0xAAAAAAAAAAAAAAAA, odd, neighbours)}, low);
        StoreWords(Words{_mm512_mask_shuffle_epi8(odd, 0x5555555555555555, even, neighbours)}, high);
      }
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

// A unit whose integer sums have been stored.
struct AmxUnit {
  const float* scales;  // of its tokens, for its (first) block
  const std::int16_t* sums;
  float* results;
  __mmask16 kept;  // all lanes: results are added to; none: they are new
};

// Adds rows [begin, end) of a tile of tokens to the results.
template <WeightType kType>
HWY_INLINE void AddAmxSums(const AmxPanel<256>& HWY_RESTRICT panel0, const AmxPanel<256>& HWY_RESTRICT panel1,
                           const AmxSums& sums, const AmxUnit& unit, const TokenRows& x, std::size_t begin, std::size_t end) {
  const FloatTag df;
  const WordTag di;
  const AmxPanel<256>* const panels[] = {&panel0, &panel1};
  const float* token_scales = unit.scales + begin * x.scale_stride;
  [[maybe_unused]] const std::int16_t* token_sums = unit.sums + begin * x.sum_stride + kCorrectionSums<kType>;
  // In registers: loads are what the tile multiplier leaves least of.
  Floats scales[kAmxRowTiles];
  [[maybe_unused]] Floats mins[kAmxRowTiles];
  [[maybe_unused]] Words corrections[kAmxRowTiles][kCorrections<kType>];
  HWY_UNROLL(2)
  for (std::size_t tile = 0; tile < kAmxRowTiles; ++tile) {
    scales[tile] = hn::Load(df, panels[tile]->block_scales);
    if constexpr (kHasMin<kType>) {
      mins[tile] = hn::Load(df, panels[tile]->block_mins);
      HWY_UNROLL(8)
      for (std::size_t j = 0; j < kCorrections<kType>; ++j) {
        corrections[tile][j] = LoadAlignedWords(panels[tile]->corrections + j * kWordBytes);
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
      float* to = unit.results + i * kAmxRows + tile * kRowTile;
      const Words high = ShuffleBytes<4, 0, 1, 2>(hn::Load(di, sums.sums[tile][1][i]));
      const Words sum = hn::Add(high, hn::Load(di, sums.sums[tile][0][i]));
      Floats value = hn::Mul(hn::ConvertTo(df, sum), scales[tile]);
      if constexpr (kHasMin<kType>) {
        Words correction = hn::Set(di, kAmxWord);
        HWY_UNROLL(8)
        for (std::size_t j = 0; j < kCorrections<kType>; ++j) {
          correction = AccumulatePairs(correction, corrections[tile][j], token_words[j]);
        }
        value = hn::NegMulAdd(hn::Sub(hn::BitCast(df, correction), hn::Set(df, kAmxFloat)), mins[tile], value);
      }
      const Floats before{_mm512_maskz_load_ps(unit.kept, to)};
      hn::Store(hn::MulAdd(value, token_scale, before), df, to);
    }
    token_scales += x.scale_stride;
  }
}

// The same for all tokens and kBlocks blocks of 32 columns, of which `block` is the first.
template <WeightType kType, std::size_t kBlocks>
HWY_INLINE void AddAmxSums(const AmxPanel<32>& HWY_RESTRICT panel0, const AmxPanel<32>& HWY_RESTRICT panel1, const AmxSums& sums,
                           const AmxUnit& unit, const TokenRows& x, std::size_t block) {
  // Scales of MXFP4 reach so far up that kAmxFloat times one is not a number.
  constexpr bool kConvert = kType == WeightType::kMXFP4;
  const FloatTag df;
  const WordTag di;
  const AmxPanel<32>* const panels[] = {&panel0, &panel1};
  const float* token_scales = unit.scales;
  [[maybe_unused]] const std::int16_t* token_sums = unit.sums;
  Floats scales[kAmxRowTiles][kBlocks];
  [[maybe_unused]] Floats excess[kAmxRowTiles][kBlocks];  // exact: scales have 11 bits
  [[maybe_unused]] Floats mins[kAmxRowTiles][kBlocks];
  HWY_UNROLL(2)
  for (std::size_t tile = 0; tile < kAmxRowTiles; ++tile) {
    HWY_UNROLL(2)
    for (std::size_t b = 0; b < kBlocks; ++b) {
      scales[tile][b] = hn::Load(df, panels[tile]->block_scales + (block + b) * kRowTile);
      if constexpr (!kConvert) excess[tile][b] = hn::Mul(scales[tile][b], hn::Set(df, kAmxFloat));
      if constexpr (kHasMin<kType>) mins[tile][b] = hn::Load(df, panels[tile]->block_mins + (block + b) * kRowTile);
    }
  }
  for (std::size_t i = 0; i < kAmxTokens; ++i) {
    Words token_words[kBlocks];
    HWY_UNROLL(2)
    for (std::size_t b = 0; b < kBlocks; ++b) {
      token_words[b] = BroadcastWord(token_scales + b);
      Pin(token_words[b]);  // one load for all row tiles
    }
    HWY_UNROLL(2)
    for (std::size_t tile = 0; tile < kAmxRowTiles; ++tile) {
      float* to = unit.results + i * kAmxRows + tile * kRowTile;
      Floats result{_mm512_maskz_load_ps(unit.kept, to)};
      HWY_UNROLL(2)
      for (std::size_t b = 0; b < kBlocks; ++b) {
        const Words sum = hn::Load(di, sums.sums[tile][b][i]);
        Floats value;
        if constexpr (kConvert) {
          value = hn::Mul(hn::ConvertTo(df, sum), scales[tile][b]);
        } else {
          value = hn::MulSub(hn::BitCast(df, hn::Add(sum, hn::Set(di, kAmxWord))), scales[tile][b], excess[tile][b]);
        }
        if constexpr (kHasMin<kType>) {
          value = hn::MulAdd(hn::Set(df, static_cast<float>(token_sums[b])), mins[tile][b], value);
        }
        result = hn::MulAdd(value, hn::BitCast(df, token_words[b]), result);
      }
      hn::Store(result, df, to);
    }
    token_scales += x.scale_stride;
    if constexpr (kHasMin<kType>) token_sums += x.sum_stride;
  }
}

// The same for a last block without a partner.
template <WeightType kType>
HWY_NOINLINE void AddLastAmxSums(const AmxPanel<32>& panel0, const AmxPanel<32>& panel1, const AmxSums& sums, const AmxUnit& unit,
                                 const TokenRows& x, std::size_t block) {
  AddAmxSums<kType, 1>(panel0, panel1, sums, unit, x, block);
}

// Rows of two row tiles, `next` bytes apart, times the tokens of `tiles`, of which x has the first (see ForAmxBlocks). While
// the multiplier works on one unit (one tile of tokens times 256 or, with blocks of 32, 64 columns), the vector units scale
// the sums of the one before. Activations, which come from the second-level cache, are loaded half a unit ahead.
template <WeightType kType, class Store>
HWY_NOINLINE void MultiplyAmx(const std::uint8_t* HWY_RESTRICT packed, std::size_t next, std::size_t cols, const TokenRows& x,
                              const AmxTokenTiles& tiles, float* HWY_RESTRICT results, const Store& store) {
  constexpr std::size_t kValues = Info(kType).block_values;
  AmxPanel<kValues> panels[kAmxRowTiles];
  AmxSums sums;
  const std::size_t stride = x.value_stride;
  const std::size_t count = tiles.count();
  for (std::size_t col = 0; col < cols; col += kColumnGroup) {
    const TokenRows at = x.template FromBlock<kValues>(col / kValues);
    const std::size_t blocks = GroupBlocks(kType, cols - col);
    const std::size_t group_bytes = blocks * PackedBlockBytes(kType);
    for (std::size_t tile = 0; tile < kAmxRowTiles; ++tile) {
      UnpackAmx<kType>(packed + tile * next, blocks, panels[tile]);
    }
    // The compiler does not know that tile loads read memory.
    asm volatile("" : : "r"(panels) : "memory");

    // Weights of the next group come from memory meanwhile.
    packed += group_bytes;
    const std::uint8_t* ahead = packed;
    const std::size_t lines = DivideUp(group_bytes, 64 * count);
    const std::size_t parts = kValues == 256 ? 1 : DivideUp(blocks, 2);  // units of one tile of tokens
    const bool last_group = col + kColumnGroup >= cols;
    AmxUnit before{};
    std::size_t block_before = 0;
    const auto add_before = [&](std::size_t begin, std::size_t end) HWY_ATTR __attribute__((always_inline)) {
      if constexpr (kValues == 256) {
        AddAmxSums<kType>(panels[0], panels[1], sums, before, x, begin, end);
      } else if (block_before + 2 <= blocks) {
        AddAmxSums<kType, 2>(panels[0], panels[1], sums, before, x, block_before);
      } else {
        AddLastAmxSums<kType>(panels[0], panels[1], sums, before, x, block_before);
      }
    };
    const std::int8_t* values = at.values + tiles.begin(0) * stride;
    const std::int8_t* following = values;
    _tile_loadd(4, values, stride);
    // The last pass only adds.
    for (std::size_t unit = 0, tile = 0, part = 0; unit <= count * parts; ++unit) {
      const bool multiplies = tile < count;
      if (multiplies && part == 0) {
        for (std::size_t i = 0; i < lines; ++i, ahead += 64) {
          __builtin_prefetch(ahead);
          __builtin_prefetch(ahead + next);
        }
        following = tile + 1 < count ? at.values + tiles.begin(tile + 1) * stride : values;
      }
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
      if constexpr (kValues == 256) {
        for (std::size_t half = 0; half < 2; ++half) {
          if (multiplies) {
            const std::size_t even = 32 * half * kWordBytes, odd = even + 16 * kWordBytes;
            _tile_loadd(5, values + 128 * half + 64, stride);
            _tile_loadd(6, panels[0].low + even, kWordBytes);
            _tile_dpbsud(0, 4, 6);
            _tile_loadd(7, panels[0].high + even, kWordBytes);
            _tile_dpbssd(1, 4, 7);
            _tile_loadd(6, panels[1].low + even, kWordBytes);
            _tile_dpbsud(2, 4, 6);
            _tile_loadd(7, panels[1].high + even, kWordBytes);
            _tile_dpbssd(3, 4, 7);
            _tile_loadd(4, half == 0 ? values + 128 : following, stride);
            _tile_loadd(6, panels[0].low + odd, kWordBytes);
            _tile_dpbsud(0, 5, 6);
            _tile_loadd(7, panels[0].high + odd, kWordBytes);
            _tile_dpbssd(1, 5, 7);
            _tile_loadd(6, panels[1].low + odd, kWordBytes);
            _tile_dpbsud(2, 5, 6);
            _tile_loadd(7, panels[1].high + odd, kWordBytes);
            _tile_dpbssd(3, 5, 7);
          }
          if (unit != 0) add_before(8 * half, 8 * half + 8);
        }
      } else {
        if (multiplies) {
          // Of the last block without a partner, what follows is multiplied too, and not used.
          const std::size_t even = 16 * part * kWordBytes, odd = even + 8 * kWordBytes;
          _tile_loadd(5, values + 64 * part + 32, stride);
          _tile_loadd(6, panels[0].levels + even, kWordBytes);
          _tile_dpbssd(0, 4, 6);
          _tile_loadd(7, panels[1].levels + even, kWordBytes);
          _tile_dpbssd(2, 4, 7);
          _tile_loadd(4, part + 1 < parts ? values + 64 * (part + 1) : following, stride);
          _tile_loadd(6, panels[0].levels + odd, kWordBytes);
          _tile_dpbssd(1, 5, 6);
          _tile_loadd(7, panels[1].levels + odd, kWordBytes);
          _tile_dpbssd(3, 5, 7);
        }
        if (unit != 0) add_before(0, kAmxTokens);
      }
      if (unit != 0 && part == 0 && last_group) store(tile - 1);
      if (!multiplies) continue;
      _tile_stored(0, sums.sums[0][0], kWordBytes);
      _tile_stored(1, sums.sums[0][1], kWordBytes);
      _tile_stored(2, sums.sums[1][0], kWordBytes);
      _tile_stored(3, sums.sums[1][1], kWordBytes);
      const std::size_t token = tiles.begin(tile);
      block_before = 2 * part;
      before = {at.scales + token * at.scale_stride + block_before, at.sums + token * at.sum_stride + block_before,
                results + tile * kAmxTokens * kAmxRows, static_cast<__mmask16>(col == 0 && part == 0 ? 0 : 0xFFFF)};
      if (++part == parts) {
        part = 0;
        ++tile;
        values = following;
      }
    }
  }
}

// Many tokens, at least kAmxTokens. Needs 58 KiB of stack.
template <WeightType kType>
HWY_NOINLINE void MultiplyWithAmx(const std::uint8_t* packed, std::size_t rows, std::size_t cols, const TokenRows& x,
                                  std::size_t token_begin, std::size_t token_end, std::size_t row_begin,
                                  std::size_t row_end, const Output& out) {
  constexpr std::size_t kBytes = Info(kType).block_values == 32 ? 32 : 64;
  ForAmxBlocks<kBytes>(packed, rows, PackedTileBytes(kType, cols), cols, token_begin, token_end, row_begin, row_end, out,
                       [&](const AmxTokenTiles& tiles, const std::uint8_t* at, std::size_t next, float* results,
                           const auto& store) HWY_ATTR { MultiplyAmx<kType>(at, next, cols, x, tiles, results, store); });
}

}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // INLAY_AMX

#endif  // toggle guard
