// Matrix products with quantised weights for many tokens (prefill): 256 columns of a row tile are unpacked once into a
// panel in the first-level cache and multiplied with a whole block of tokens.
//
// Apart from the kernels for few tokens (quantized_matmul-inl.hpp), which unpack into registers. Both compute the same
// integers per block and add the blocks of a row to the float sum in order, so that they give the same bits.

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "inlay/core/macros.hpp"
#include "inlay/formats/weight_type.hpp"
#include "inlay/kernels/highway.hpp"
#include "inlay/kernels/packed_layout.hpp"
#include "inlay/kernels/quantized_formats-inl.hpp"
#include "inlay/kernels/simd-inl.hpp"

#if defined(INLAY_KERNELS_QUANTIZED_PANEL_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_KERNELS_QUANTIZED_PANEL_INL_HPP_
#undef INLAY_KERNELS_QUANTIZED_PANEL_INL_HPP_
#else
#define INLAY_KERNELS_QUANTIZED_PANEL_INL_HPP_
#endif

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The register tile: kPanelVectors vectors of rows times kPanelTokens tokens. Two vectors share each broadcast of
// activations, which costs a load.
inline constexpr std::size_t kPanelVectors = 2;
inline constexpr std::size_t kPanelTokens = kWordLanes == 16 ? 6 : 4;
// Row tiles that are processed together.
inline constexpr std::size_t kPanelTiles = kPanelVectors * kWordLanes / kRowTile == 0 ? 1 : kPanelVectors * kWordLanes / kRowTile;
// Tokens that share one unpacking. Their float sums wait in the caller's buffer.
inline constexpr std::size_t kPanelBlock = 96;

// 256 columns (fewer at the end of a row, for formats with blocks of 32) of one row tile, ready to multiply. Rows side by
// side as in the packed layout.
struct alignas(64) Panel {
  std::uint8_t levels[64 * kWordBytes];       // word i: columns 4i .. 4i+3
  std::uint8_t scales[16 * kWordBytes];       // blocks of 256: prepared sub-scales of the groups
  std::uint8_t corrections[8 * kWordBytes];   // see LoadGroupScales
  float block_scales[8 * kRowTile];           // of each block
  float block_mins[8 * kRowTile];
};

template <WeightType kType>
HWY_NOINLINE void UnpackPanel(const std::uint8_t* HWY_RESTRICT packed, std::size_t blocks, Panel& panel) {
  constexpr std::size_t kBlockLevels = Info(kType).block_values / 32u;
  for (std::size_t b = 0; b < blocks; ++b) {
    const std::uint8_t* block = packed + b * PackedBlockBytes(kType);
    for (std::size_t lane = 0; lane < kRowTile; lane += kWordLanes) {
      const FloatTag df;
      hn::Store(LoadBlockScale<kType>(block, lane), df, panel.block_scales + b * kRowTile + lane);
      if constexpr (kHasMin<kType>) hn::Store(LoadBlockMin(block, lane), df, panel.block_mins + b * kRowTile + lane);
      if constexpr (kBlockLevels == 8) {
        Words scales[256 / kGroupColumns<kType>];
        Words corrections[kCorrections<kType>];
        LoadGroupScales<kType>(block, lane, scales, corrections);
        for (std::size_t i = 0; i < 256 / kGroupColumns<kType>; ++i) {
          StoreWords(scales[i], panel.scales + i * kWordBytes + 4 * lane);
        }
        for (std::size_t i = 0; i < kCorrections<kType>; ++i) {
          StoreWords(corrections[i], panel.corrections + i * kWordBytes + 4 * lane);
        }
      }
      for (std::size_t i = 0; i < kBlockLevels; ++i) {
        Words levels[8];
        UnpackLevels<kType>(block + PackedHeaderBytes(kType) + i * PackedLevelBytes(kType) + 4 * lane, levels);
        std::uint8_t* to = panel.levels + (b * kBlockLevels + i) * 8 * kWordBytes + 4 * lane;
        HWY_UNROLL(8)
        for (std::size_t word = 0; word < 8; ++word) StoreWords(levels[word], to + word * kWordBytes);
      }
    }
  }
}

// The vectors of a register tile, each kWordLanes rows of a panel.
struct PanelRows {
  const Panel* panel;
  std::size_t lane;

  // Vector `v`'s part of a word of every row, counted from the member `words` of the first panel.
  const std::uint8_t* Word(const std::uint8_t* words, std::size_t v) const {
    const std::size_t row = lane + v * kWordLanes;
    return words + row / kRowTile * sizeof(Panel) + row % kRowTile * 4;
  }
  const float* Scale(const float* scales, std::size_t v) const {
    return reinterpret_cast<const float*>(Word(reinterpret_cast<const std::uint8_t*>(scales), v));
  }
};

using PanelTile = Words[kPanelVectors][kPanelTokens];

// dots += kWords words of levels, from word `word` of the panel, times activations. As 16-bit pairs where those are what
// the target multiplies to (then `dots` is overwritten), else as 32-bit sums.
template <int kBits, bool kPairs, std::size_t kWords>
HWY_INLINE void AccumulatePanel(const PanelRows& rows, std::size_t word, const std::int8_t* HWY_RESTRICT values,
                                std::size_t stride, PanelTile& dots) {
  HWY_UNROLL(8)
  for (std::size_t i = 0; i < kWords; ++i) {
    Words levels[kPanelVectors];
    HWY_UNROLL(8)
    for (std::size_t v = 0; v < kPanelVectors; ++v) {
      levels[v] = LoadAlignedWords(rows.Word(rows.panel->levels, v) + (word + i) * kWordBytes);
    }
    HWY_UNROLL(8)
    for (std::size_t t = 0; t < kPanelTokens; ++t) {
      const Words activations = BroadcastWord(values + t * stride + 4 * (word + i));
      HWY_UNROLL(8)
      for (std::size_t v = 0; v < kPanelVectors; ++v) {
#if INLAY_MADDUBS
        if constexpr (kPairs) {
          const Words pairs = MultiplyToPairs<kBits>(levels[v], activations);
          dots[v][t] = i == 0 ? pairs : AddPairs(dots[v][t], pairs);
          Pin(dots[v][t]);
          continue;
        }
#endif
        dots[v][t] = AccumulateDot4(dots[v][t], levels[v], activations);
        Pin(dots[v][t]);
      }
    }
  }
}

// totals += scale * (kWords words of levels times activations), exact; `scale` counts groups.
template <int kBits, std::size_t kWords>
HWY_INLINE void AccumulateScaledPanel(const PanelRows& rows, std::size_t word, const std::int8_t* HWY_RESTRICT values,
                                      std::size_t stride, std::size_t scale, PanelTile& totals) {
  [[maybe_unused]] constexpr int kMost = MostByte(kBits);
#if INLAY_MADDUBS
  constexpr std::size_t kChain = 32767 / (2 * 127 * kMost) < kWords ? 32767 / (2 * 127 * kMost) : kWords;
  constexpr bool kPairScales = true;
#elif INLAY_DOT4_UNSIGNED
  constexpr std::size_t kChain = kBits <= 4 ? 4 : kWords;
  constexpr bool kPairScales = kBits <= 4;
#else
  constexpr std::size_t kChain = kWords;
  constexpr bool kPairScales = false;
#endif
  static_assert(kWords % kChain == 0);
  HWY_UNROLL(8)
  for (std::size_t i = 0; i < kWords; i += kChain) {
    PanelTile dots;
    HWY_UNROLL(8)
    for (std::size_t v = 0; v < kPanelVectors; ++v) {
      HWY_UNROLL(8)
      for (std::size_t t = 0; t < kPanelTokens; ++t) dots[v][t] = hn::Zero(WordTag());
    }
    AccumulatePanel<kBits, INLAY_MADDUBS, kChain>(rows, word + i, values, stride, dots);
    HWY_UNROLL(8)
    for (std::size_t v = 0; v < kPanelVectors; ++v) {
      const Words scales = LoadAlignedWords(rows.Word(rows.panel->scales, v) + scale * kWordBytes);
      HWY_UNROLL(8)
      for (std::size_t t = 0; t < kPanelTokens; ++t) {
        totals[v][t] = kPairScales ? AccumulatePairs(totals[v][t], dots[v][t], scales)
                                   : hn::Add(totals[v][t], hn::Mul(dots[v][t], scales));
        Pin(totals[v][t]);
      }
    }
  }
}

// sums[t * kSumStride + row] += 256 columns of the rows of a register tile times kPanelTokens tokens.
template <WeightType kType, std::size_t kSumStride>
HWY_INLINE void MultiplyPanel256(const PanelRows& rows, const TokenRows& x, float* HWY_RESTRICT sums) {
  constexpr std::size_t kGroupWords = kGroupColumns<kType> / 4;
  const FloatTag df;
  const WordTag di;
  PanelTile totals;
  HWY_UNROLL(8)
  for (std::size_t v = 0; v < kPanelVectors; ++v) {
    [[maybe_unused]] const std::uint8_t* corrections = rows.Word(rows.panel->corrections, v);
    [[maybe_unused]] const float* mins = rows.Scale(rows.panel->block_mins, v);
    HWY_UNROLL(8)
    for (std::size_t t = 0; t < kPanelTokens; ++t) {
      totals[v][t] = hn::Zero(di);
      if constexpr (kHasMin<kType> || kByteOffset<kType> != 0) {
        const std::int16_t* token_sums = x.sums + t * x.sum_stride + kCorrectionSums<kType>;
        Words correction = MultiplyAddPairs(LoadAlignedWords(corrections), BroadcastWord(token_sums));
        HWY_UNROLL(8)
        for (std::size_t i = 1; i < kCorrections<kType>; ++i) {
          correction =
              AccumulatePairs(correction, LoadAlignedWords(corrections + i * kWordBytes), BroadcastWord(token_sums + 2 * i));
          Pin(correction);
        }
        if constexpr (kHasMin<kType>) {
          float* sum = sums + t * kSumStride + v * kWordLanes;
          const Floats scale = hn::Mul(hn::Load(df, mins), hn::Set(df, x.scales[t * x.scale_stride]));
          hn::Store(hn::NegMulAdd(hn::ConvertTo(df, correction), scale, hn::Load(df, sum)), df, sum);
        } else {
          totals[v][t] = hn::Mul(correction, hn::Set(di, -kByteOffset<kType>));
        }
      }
    }
  }
  for (std::size_t word = 0; word < 64; word += 8) {
    HWY_UNROLL(2)
    for (std::size_t i = 0; i < 8; i += kGroupWords) {
      AccumulateScaledPanel<kByteBits<kType>, kGroupWords>(rows, word + i, x.values, x.value_stride,
                                                           (word + i) / kGroupWords, totals);
    }
  }
  HWY_UNROLL(8)
  for (std::size_t v = 0; v < kPanelVectors; ++v) {
    const Floats block_scale = hn::Load(df, rows.Scale(rows.panel->block_scales, v));
    HWY_UNROLL(8)
    for (std::size_t t = 0; t < kPanelTokens; ++t) {
      float* sum = sums + t * kSumStride + v * kWordLanes;
      const Floats scale = hn::Mul(block_scale, hn::Set(df, x.scales[t * x.scale_stride]));
      hn::Store(hn::MulAdd(hn::ConvertTo(df, totals[v][t]), scale, hn::Load(df, sum)), df, sum);
    }
  }
}

// The same with a float scale for each of `blocks` blocks of 32 columns.
template <WeightType kType, std::size_t kSumStride>
HWY_INLINE void MultiplyPanel32(const PanelRows& rows, std::size_t blocks, const TokenRows& x, float* HWY_RESTRICT sums) {
  [[maybe_unused]] constexpr int kBits = kByteBits<kType>;
  const FloatTag df;
  const WordTag di;
  for (std::size_t b = 0; b < blocks; ++b) {
    PanelTile dots;
    HWY_UNROLL(8)
    for (std::size_t t = 0; t < kPanelTokens; ++t) {
      const Words start = kByteOffset<kType> == 0 ? hn::Zero(di) : hn::Set(di, -kByteOffset<kType> * x.sums[t * x.sum_stride + b]);
      HWY_UNROLL(8)
      for (std::size_t v = 0; v < kPanelVectors; ++v) dots[v][t] = start;
    }
#if INLAY_MADDUBS
    if constexpr (kBits < 8) {
      constexpr std::size_t kChain = kBits <= 4 ? 8 : 4;
      const Words one = hn::Set(di, 0x00010001);
      HWY_UNROLL(2)
      for (std::size_t i = 0; i < 8; i += kChain) {
        PanelTile pairs;
        AccumulatePanel<kBits, true, kChain>(rows, 8 * b + i, x.values, x.value_stride, pairs);
        HWY_UNROLL(8)
        for (std::size_t v = 0; v < kPanelVectors; ++v) {
          HWY_UNROLL(8)
          for (std::size_t t = 0; t < kPanelTokens; ++t) {
            dots[v][t] = AccumulatePairs(dots[v][t], pairs[v][t], one);
            Pin(dots[v][t]);
          }
        }
      }
    } else {
      AccumulatePanel<kBits, false, 8>(rows, 8 * b, x.values, x.value_stride, dots);
    }
#else
    AccumulatePanel<kBits, false, 8>(rows, 8 * b, x.values, x.value_stride, dots);
#endif
    HWY_UNROLL(8)
    for (std::size_t v = 0; v < kPanelVectors; ++v) {
      const Floats block_scale = hn::Load(df, rows.Scale(rows.panel->block_scales, v) + b * kRowTile);
      [[maybe_unused]] const float* mins = rows.Scale(rows.panel->block_mins, v) + b * kRowTile;
      HWY_UNROLL(8)
      for (std::size_t t = 0; t < kPanelTokens; ++t) {
        const float token_scale = x.scales[t * x.scale_stride + b];
        float* to = sums + t * kSumStride + v * kWordLanes;
        Floats sum = hn::MulAdd(hn::ConvertTo(df, dots[v][t]), hn::Mul(block_scale, hn::Set(df, token_scale)), hn::Load(df, to));
        if constexpr (kHasMin<kType>) {
          const float token_sum = static_cast<float>(x.sums[t * x.sum_stride + b]);
          sum = hn::MulAdd(hn::Load(df, mins), hn::Set(df, token_scale * token_sum), sum);
        }
        hn::Store(sum, df, to);
      }
    }
  }
}

// results[t * kPanelTiles * 16 + r] = row r of kPanelTiles row tiles, `tile_bytes` apart, times token t; `tokens` is a
// multiple of kPanelTokens, at most kPanelBlock.
template <WeightType kType>
HWY_NOINLINE void MultiplyPanels(const std::uint8_t* HWY_RESTRICT tiles, std::size_t tile_bytes, std::size_t cols,
                                 const TokenRows& x, std::size_t tokens, float* HWY_RESTRICT results) {
  constexpr std::size_t kValues = Info(kType).block_values;
  constexpr std::size_t kStride = kPanelTiles * kRowTile;
  Panel panels[kPanelTiles];
  std::memset(results, 0, tokens * kStride * sizeof(float));
  for (std::size_t col = 0; col < cols; col += 256) {
    const std::size_t blocks = (cols - col < 256 ? cols - col : 256) / kValues;
    for (std::size_t tile = 0; tile < kPanelTiles; ++tile) {
      UnpackPanel<kType>(tiles + tile * tile_bytes + col / kValues * PackedBlockBytes(kType), blocks, panels[tile]);
    }
    for (std::size_t token = 0; token < tokens; token += kPanelTokens) {
      const TokenRows at = x.From(token).template FromBlock<kValues>(col / kValues);
      for (std::size_t lane = 0; lane < kStride; lane += kPanelVectors * kWordLanes) {
        float* sums = results + token * kStride + lane;
        if constexpr (kValues == 32) {
          MultiplyPanel32<kType, kStride>({panels, lane}, blocks, at, sums);
        } else {
          MultiplyPanel256<kType, kStride>({panels, lane}, at, sums);
        }
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // toggle guard
