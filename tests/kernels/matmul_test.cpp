// Quantised matrix products: bit for bit against the same arithmetic in plain loops over the file's blocks (so every SIMD
// target gives the integers of the scalar one), against sums in double, and against Eigen with the true activations.
#define BOOST_TEST_DYN_LINK
#include "inlay/kernels/matmul-inl.hpp"

#include <boost/test/unit_test.hpp>

#include <Eigen/Core>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <random>
#include <vector>

#include "inlay/core/owned_buffer.hpp"
#include "inlay/formats/codec.hpp"
#include "inlay/formats/float16.hpp"
#include "inlay/kernels/pack.hpp"
#include "inlay/kernels/quantize-inl.hpp"

namespace {

using inlay::WeightType;
using Counts = std::initializer_list<std::size_t>;
namespace target = inlay::HWY_NAMESPACE;

constexpr WeightType kQuantized[] = {WeightType::kQ8_0, WeightType::kQ4_0,   WeightType::kQ4_1,  WeightType::kQ5_0,
                                     WeightType::kQ5_1, WeightType::kIQ4_NL, WeightType::kMXFP4, WeightType::kQ2_K,
                                     WeightType::kQ3_K, WeightType::kQ4_K,   WeightType::kQ5_K,  WeightType::kQ6_K,
                                     WeightType::kIQ4_XS, WeightType::kTQ1_0, WeightType::kTQ2_0};
constexpr float kUntouched = 12345.0f;

// As the kernels' multiply-add rounds on this target.
float MultiplyAdd(float a, float b, float c) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  return std::fma(a, b, c);
#else
  return a * b + c;
#endif
}

// Calls f with a block of `type`.
template <class Function>
void WithBlock(WeightType type, Function&& f) {
  inlay::detail::ForType(type, inlay::AllFormats{}, [&]<WeightType kType>() {
    if constexpr (inlay::Info(kType).block_values > 1) f.template operator()<kType>(typename inlay::Codec<kType>::Block{});
  });
}

// Sets the float fields of the file block at `bytes`. (An MXFP4 block gets the power of two below d.)
void SetScales(WeightType type, std::byte* bytes, float d, float m) {
  WithBlock(type, [&]<WeightType kType>(auto block) {
    std::memcpy(&block, bytes, sizeof(block));
    if constexpr (requires { block.e; }) {
      block.e = static_cast<std::uint8_t>(127 + std::ilogb(std::fabs(d) + 1e-6f));
    } else {
      block.d = inlay::F32ToF16(d);
    }
    if constexpr (requires { block.m; }) block.m = inlay::F32ToF16(m);
    if constexpr (requires { block.dmin; }) block.dmin = inlay::F32ToF16(m);
    std::memcpy(bytes, &block, sizeof(block));
  });
}

// The integer that value i of a block is, before scales.
template <WeightType kType, class Block>
int ValueOf(const Block& block, std::size_t i) {
  const int level = inlay::detail::BlockLevels<Block>::Get(block, i);
  switch (kType) {
    case WeightType::kQ8_0: return static_cast<std::int8_t>(level);
    case WeightType::kIQ4_NL:
    case WeightType::kIQ4_XS: return inlay::kIq4Levels[level];
    case WeightType::kMXFP4: return inlay::kMxfp4Levels[level];
    default: return level - inlay::LevelOffset(kType);
  }
}

// The integers that the values of column i of a block of 256 are scaled and lowered by.
struct ScaleAndMin {
  int scale;
  int min;
};
template <WeightType kType, class Block>
ScaleAndMin ScalesOf(const Block& block, std::size_t i) {
  if constexpr (kType == WeightType::kQ2_K) {
    return {block.scales[i / 16] & 15, block.scales[i / 16] >> 4};
  } else if constexpr (kType == WeightType::kQ3_K) {
    return {inlay::Codec<kType>::ScaleOf(block, static_cast<int>(i / 16)) - 32, 0};
  } else if constexpr (kType == WeightType::kQ6_K) {
    return {block.scales[i / 16], 0};
  } else if constexpr (kType == WeightType::kIQ4_XS) {
    return {inlay::Codec<kType>::ScaleOf(block, static_cast<int>(i / 32)) - 32, 0};
  } else if constexpr (requires { block.dmin; }) {
    const inlay::GroupScales groups = inlay::UnpackGroupScales(block.scales);
    return {groups.scale[i / 32], groups.min[i / 32]};
  } else {
    return {1, 0};
  }
}

struct Problem {
  WeightType type;
  std::size_t rows, cols, tokens;
  std::vector<std::byte> file;  // [rows, RowBytes]
  inlay::OwnedBuffer packed;
  inlay::OwnedBuffer memory;
  inlay::Activations x;

  // Levels and sub-scales of random bits, small random scales, normal activations.
  Problem(WeightType weight_type, std::size_t row_count, std::size_t col_count, std::size_t token_count, unsigned seed)
      : type(weight_type), rows(row_count), cols(col_count), tokens(token_count) {
    std::mt19937 random(seed);
    std::uniform_real_distribution<float> uniform(-0.05f, 0.05f);
    std::normal_distribution<float> normal;
    file.resize(rows * row_bytes());
    for (std::byte& byte : file) byte = static_cast<std::byte>(random() & 0xFF);
    ForBlocks([&](std::byte* block) { SetScales(type, block, uniform(random), uniform(random)); });
    const auto kinds = static_cast<inlay::ActivationKinds>(inlay::kActivationBlock32 | inlay::kActivationBlock256);
    inlay::MemoryCounter counter;
    BOOST_REQUIRE(inlay::MakeActivations(counter, kinds, tokens, cols_of_activations()));
    memory = *inlay::OwnedBuffer::Create(counter.used());
    inlay::Arena arena = *inlay::Arena::Create(memory.bytes());
    x = *inlay::MakeActivations(arena, kinds, tokens, cols_of_activations());
    for (std::size_t t = 0; t < tokens; ++t) {
      for (std::size_t k = 0; k < cols_of_activations(); ++k) x.values[t * x.stride + k] = k < cols ? normal(random) : 0.0f;
    }
    Prepare();
  }

  std::size_t row_bytes() const { return inlay::RowBytes(type, cols); }
  std::size_t block_values() const { return inlay::Info(type).block_values; }
  std::size_t cols_of_activations() const { return inlay::RoundUp(cols, 256); }
  const inlay::QuantizedRows& quantized() const { return block_values() == 32 ? x.block32 : x.block256; }

  void ForBlocks(const std::function<void(std::byte*)>& f) {
    for (std::size_t at = 0; at < file.size(); at += inlay::Info(type).block_bytes) f(file.data() + at);
  }

  // After a change of `file` or `x.values`.
  void Prepare() {
    packed = *inlay::OwnedBuffer::Create(inlay::PackedBytes(type, rows, cols));
    for (std::size_t row = 0; row < rows; row += inlay::kRowTile) {
      inlay::PackTile(type, file.data() + row * row_bytes(), row_bytes(), std::min(inlay::kRowTile, rows - row), cols,
                      packed.bytes().data() + row / inlay::kRowTile * inlay::PackedTileBytes(type, cols));
    }
    target::QuantizeRows(inlay::ActivationKindOf(type), cols, 0, tokens, x);
  }

  // What the kernels compute, in plain loops: integers per block, times the block's float scale, less its min, and then
  // one multiply-add with the scale of the activations, blocks in order.
  float Expected(std::size_t row, std::size_t token) const {
    float sum = 0.0f;
    for (std::size_t b = 0; b < cols / block_values(); ++b) {
      const std::byte* bytes = file.data() + row * row_bytes() + b * inlay::Info(type).block_bytes;
      WithBlock(type, [&]<WeightType kType>(auto block) {
        std::memcpy(&block, bytes, sizeof(block));
        if constexpr (inlay::Info(kType).block_values == 32) {
          sum = AddBlock32<kType>(sum, block, token, b);
        } else {
          sum = AddBlock256<kType>(sum, block, token, b);
        }
      });
    }
    return sum;
  }

  template <WeightType kType, class Block>
  float AddBlock32(float sum, const Block& block, std::size_t token, std::size_t b) const {
    const inlay::QuantizedRows& q = x.block32;
    const std::int8_t* a = q.values + token * q.value_stride + 32 * b;
    const float scale = q.scales[token * q.scale_stride + b];
    int dot = 0, total = 0;
    for (std::size_t i = 0; i < 32; ++i) {
      dot += ValueOf<kType>(block, i) * a[i];
      total += a[i];
    }
    float d = 0;
    if constexpr (requires { block.e; }) {
      d = inlay::Mxfp4Scale(block.e);
    } else {
      d = inlay::F16ToF32(block.d);
    }
    float value = static_cast<float>(dot) * d;
    if constexpr (requires { block.m; }) {
      value = MultiplyAdd(inlay::F16ToF32(block.m), static_cast<float>(total), value);
    }
    return MultiplyAdd(value, scale, sum);
  }

  template <WeightType kType, class Block>
  float AddBlock256(float sum, const Block& block, std::size_t token, std::size_t b) const {
    const inlay::QuantizedRows& q = x.block256;
    const std::int8_t* a = q.values + token * q.value_stride + 256 * b;
    const float scale = q.scales[token * q.scale_stride + b];
    int dot = 0, min = 0;
    for (std::size_t i = 0; i < 256; ++i) {
      const ScaleAndMin group = ScalesOf<kType>(block, i);
      dot += group.scale * ValueOf<kType>(block, i) * a[i];
      min += group.min * a[i];
    }
    float value = static_cast<float>(dot) * inlay::F16ToF32(block.d);
    if constexpr (requires { block.dmin; }) {
      value = MultiplyAdd(-static_cast<float>(min), inlay::F16ToF32(block.dmin), value);
    }
    return MultiplyAdd(value, scale, sum);
  }

  std::vector<float> Multiply() const {
    std::vector<float> out(tokens * rows, kUntouched);
    target::MatMul<inlay::AllFormats>(type, packed.bytes().data(), rows, inlay::DynamicExtent{cols}, x, 0, tokens, 0, rows,
                                      {out.data(), rows, false});
    return out;
  }
};

// Bits, so that a NaN equals itself and -0 differs from 0.
std::uint32_t Bits(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

void RequireExact(const Problem& problem) {
  const std::vector<float> got = problem.Multiply();
  for (std::size_t t = 0; t < problem.tokens; ++t) {
    for (std::size_t row = 0; row < problem.rows; ++row) {
      const float expected = problem.Expected(row, t);
      BOOST_REQUIRE_MESSAGE(Bits(expected) == Bits(got[t * problem.rows + row]),
                            inlay::Name(problem.type) << " [" << problem.rows << ", " << problem.cols << "] row " << row
                                                      << " token " << t << " of " << problem.tokens << ": expected "
                                                      << expected << ", got " << got[t * problem.rows + row]);
    }
  }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(kernels_matmul)

BOOST_AUTO_TEST_CASE(every_shape_gives_the_bits_of_the_plain_loops) {
  unsigned seed = 0;
  for (const WeightType type : kQuantized) {
    const std::size_t block = inlay::Info(type).block_values;
    for (const std::size_t rows : Counts{1, 7, 8, 9, 16, 17, 33}) {
      for (const std::size_t tokens : Counts{1, 2, 3, 5}) {
        RequireExact(Problem(type, rows, block * (1 + seed % 4), tokens, seed));
        ++seed;
      }
    }
    for (std::size_t tokens = 1; tokens <= 17; ++tokens) RequireExact(Problem(type, 20, 512, tokens, ++seed));
    for (const std::size_t tokens : Counts{31, 32, 33, 67, 130, 209}) RequireExact(Problem(type, 33, 768, tokens, ++seed));
    if (block == 32) RequireExact(Problem(type, 35, 32 * 11, 50, ++seed));
  }
}

// So long that only some tokens' activations fit a cache together; the last block of tokens has one.
BOOST_AUTO_TEST_CASE(long_rows_give_the_bits_of_the_plain_loops) {
  for (const WeightType type : {WeightType::kQ4_K, WeightType::kQ8_0, WeightType::kQ5_1}) RequireExact(Problem(type, 3, 16384, 193, 77));
}

// The largest magnitudes that a file can hold, with every sign: any 16-bit saturation or 32-bit overflow shows.
BOOST_AUTO_TEST_CASE(extreme_levels_scales_and_activations_are_exact) {
  for (const WeightType type : kQuantized) {
    const std::size_t block_bytes = inlay::Info(type).block_bytes;
    for (const int byte : {0x00, 0x7F, 0x80, 0xFF}) {
      for (int signs = 0; signs < 4; ++signs) {
        for (const std::size_t tokens : Counts{1, 9, 40}) {
          Problem problem(type, 17, 512, tokens, 5);
          problem.ForBlocks([&](std::byte* block) {
            std::memset(block, byte, block_bytes);
            // Sub-scales at both ends whatever the levels are.
            const int scales = signs % 2 == 0 ? 0x80 : 0x7F;
            switch (type) {
              case WeightType::kQ6_K: std::memset(block + offsetof(inlay::BlockQ6_K, scales), scales, 16); break;
              case WeightType::kQ2_K: std::memset(block, scales == 0x80 ? 0xFF : 0x0F, 16); break;
              case WeightType::kQ3_K:
                std::memset(block + offsetof(inlay::BlockQ3_K, scales), scales == 0x80 ? 0x00 : 0xFF, 12);
                break;
              case WeightType::kQ4_K:
              case WeightType::kQ5_K: std::memset(block + 4, 0xFF, 12); break;
              case WeightType::kIQ4_XS: std::memset(block + 2, scales == 0x80 ? 0x00 : 0xFF, 6); break;
              default: break;
            }
            SetScales(type, block, 1.0f, 1.0f);
          });
          for (std::size_t t = 0; t < tokens; ++t) {
            for (std::size_t k = 0; k < 512; ++k) {
              const bool negative = signs == 1 || (signs == 2 && k % 2 == 0) || (signs == 3 && k / 32 % 2 == 0);
              problem.x.values[t * problem.x.stride + k] = negative ? -127.0f : 127.0f;
            }
          }
          problem.Prepare();
          BOOST_REQUIRE(problem.quantized().values[0] == (signs == 0 ? 127 : -127));
          RequireExact(problem);
        }
      }
    }
  }
}

// The smallest exponents of MXFP4 are subnormal floats, the largest are beyond what its levels can have.
BOOST_AUTO_TEST_CASE(every_exponent_of_mxfp4_is_exact) {
  for (const int exponent : {0, 1, 2, 3, 60, 127, 128, 200, 252}) {
    for (const std::size_t tokens : Counts{1, 40}) {
      Problem problem(WeightType::kMXFP4, 17, 256, tokens, 61);
      problem.ForBlocks([&](std::byte* block) { *block = static_cast<std::byte>(exponent); });
      problem.Prepare();
      RequireExact(problem);
    }
  }
}

// Dequantised weights times dequantised activations in double: only float rounding of the block sums may differ.
BOOST_AUTO_TEST_CASE(agrees_with_sums_in_double) {
  for (const WeightType type : kQuantized) {
    const Problem problem(type, 33, 1024, 9, 17);
    const std::vector<float> got = problem.Multiply();
    const inlay::QuantizedRows& q = problem.quantized();
    std::vector<float> weights(problem.cols);
    for (std::size_t row = 0; row < problem.rows; ++row) {
      inlay::DecodeRow(type, problem.file.data() + row * problem.row_bytes(), problem.cols, weights.data());
      for (std::size_t t = 0; t < problem.tokens; ++t) {
        double sum = 0, magnitude = 0;
        for (std::size_t k = 0; k < problem.cols; ++k) {
          const double a = static_cast<double>(q.scales[t * q.scale_stride + k / problem.block_values()]) *
                           q.values[t * q.value_stride + k];
          sum += a * static_cast<double>(weights[k]);
          magnitude += std::fabs(a * static_cast<double>(weights[k]));
        }
        BOOST_REQUIRE_SMALL(static_cast<double>(got[t * problem.rows + row]) - sum, 1e-6 * magnitude);
      }
    }
  }
}

// With the true activations: rounding a block to int8 moves each value by at most half its scale.
BOOST_AUTO_TEST_CASE(agrees_with_eigen_on_true_activations) {
  using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  for (const WeightType type : kQuantized) {
    const Problem problem(type, 40, 1024, 6, 23);
    const std::vector<float> got = problem.Multiply();
    const inlay::QuantizedRows& q = problem.quantized();
    Matrix weights(problem.rows, problem.cols);
    for (std::size_t row = 0; row < problem.rows; ++row) {
      inlay::DecodeRow(type, problem.file.data() + row * problem.row_bytes(), problem.cols,
                       weights.data() + row * problem.cols);
    }
    const Eigen::Map<const Matrix, 0, Eigen::OuterStride<>> x(problem.x.values, static_cast<Eigen::Index>(problem.tokens),
                                                              static_cast<Eigen::Index>(problem.cols),
                                                              Eigen::OuterStride<>(static_cast<Eigen::Index>(problem.x.stride)));
    const Matrix expected = x * weights.transpose();
    for (std::size_t t = 0; t < problem.tokens; ++t) {
      for (std::size_t row = 0; row < problem.rows; ++row) {
        double bound = 0, square = 0;
        for (std::size_t k = 0; k < problem.cols; ++k) {
          const double half_step = 0.5 * static_cast<double>(q.scales[t * q.scale_stride + k / problem.block_values()]);
          const double weight = static_cast<double>(weights(static_cast<Eigen::Index>(row), static_cast<Eigen::Index>(k)));
          bound += half_step * std::fabs(weight);
          square += half_step * half_step * weight * weight;
        }
        const double error = static_cast<double>(got[t * problem.rows + row]) -
                             static_cast<double>(expected(static_cast<Eigen::Index>(t), static_cast<Eigen::Index>(row)));
        BOOST_REQUIRE_LE(std::fabs(error), 1.001 * bound);
        // Errors of the values are independent and uniform: five standard deviations of their sum.
        BOOST_REQUIRE_LE(std::fabs(error), 5.0 * std::sqrt(square / 3.0) + 1e-5 * bound);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(any_split_of_tokens_and_rows_gives_the_same_bits) {
  for (const WeightType type : kQuantized) {
    const Problem problem(type, 49, 512, 37, 31);
    const std::vector<float> whole = problem.Multiply();
    std::mt19937 random(3);
    for (int round = 0; round < 12; ++round) {
      std::vector<float> parts(whole.size(), kUntouched);
      for (std::size_t row = 0; row < problem.rows;) {
        const std::size_t row_end = std::min(problem.rows, row + 16 * (1 + random() % 3));
        for (std::size_t token = 0; token < problem.tokens;) {
          const std::size_t token_end = std::min<std::size_t>(problem.tokens, token + 1 + random() % 20);
          target::MatMul<inlay::AllFormats>(type, problem.packed.bytes().data(), problem.rows,
                                            inlay::DynamicExtent{problem.cols}, problem.x, token, token_end, row, row_end,
                                            {parts.data(), problem.rows, false});
          token = token_end;
        }
        row = row_end;
      }
      BOOST_REQUIRE(std::memcmp(parts.data(), whole.data(), whole.size() * sizeof(float)) == 0);
    }
  }
}

BOOST_AUTO_TEST_CASE(writes_only_the_rows_and_tokens_asked_for) {
  for (const WeightType type : kQuantized) {
    for (const std::size_t tokens : Counts{5, 40}) {
      const Problem problem(type, 21, 256, tokens, 41);
      const std::size_t stride = 40;
      std::vector<float> out(tokens * stride, kUntouched);
      target::MatMul<inlay::AllFormats>(type, problem.packed.bytes().data(), problem.rows, inlay::DynamicExtent{256},
                                        problem.x, 1, tokens - 1, 16, 21, {out.data(), stride, false});
      for (std::size_t t = 0; t < tokens; ++t) {
        for (std::size_t row = 0; row < stride; ++row) {
          const bool asked = t >= 1 && t < tokens - 1 && row >= 16 && row < 21;
          BOOST_REQUIRE_EQUAL(out[t * stride + row], asked ? problem.Expected(row, t) : kUntouched);
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(accumulates_the_complete_sum) {
  for (const WeightType type : kQuantized) {
    for (const std::size_t tokens : Counts{1, 6, 35}) {
      const Problem problem(type, 18, 512, tokens, 43);
      std::vector<float> out(tokens * problem.rows, 0.5f);
      target::MatMul<inlay::AllFormats>(type, problem.packed.bytes().data(), problem.rows, inlay::DynamicExtent{512},
                                        problem.x, 0, tokens, 0, problem.rows, {out.data(), problem.rows, true});
      for (std::size_t t = 0; t < tokens; ++t) {
        for (std::size_t row = 0; row < problem.rows; ++row) {
          BOOST_REQUIRE_EQUAL(out[t * problem.rows + row], 0.5f + problem.Expected(row, t));
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(static_extents_give_the_bits_of_dynamic_ones) {
  for (const WeightType type : kQuantized) {
    for (const std::size_t tokens : Counts{1, 5}) {
      const Problem problem(type, 33, 512, tokens, 47);
      const std::vector<float> expected = problem.Multiply();
      std::vector<float> got(expected.size());
      target::MatMul<inlay::AllFormats>(type, problem.packed.bytes().data(), problem.rows, inlay::StaticExtent<512>{},
                                        problem.x, 0, tokens, 0, problem.rows, {got.data(), problem.rows, false});
      BOOST_REQUIRE(std::memcmp(got.data(), expected.data(), got.size() * sizeof(float)) == 0);
    }
  }
}

BOOST_AUTO_TEST_CASE(activations_that_are_not_finite_make_their_token_not_finite) {
  for (const WeightType type : kQuantized) {
    Problem problem(type, 16, 512, 3, 53);
    problem.ForBlocks([&](std::byte* block) { SetScales(type, block, 0.5f, 0.5f); });
    problem.x.values[problem.x.stride + 300] = std::numeric_limits<float>::infinity();
    problem.Prepare();
    const std::vector<float> got = problem.Multiply();
    for (std::size_t row = 0; row < 16; ++row) {
      BOOST_TEST(std::isfinite(got[row]));
      BOOST_TEST(!std::isfinite(got[16 + row]));
      BOOST_TEST(std::isfinite(got[32 + row]));
    }
  }
}

BOOST_AUTO_TEST_CASE(empty_ranges_do_nothing) {
  const Problem problem(WeightType::kQ4_K, 16, 256, 2, 59);
  std::vector<float> out(32, kUntouched);
  const inlay::Output output{out.data(), 16, false};
  for (const auto& [token_end, row_end] : {std::pair<std::size_t, std::size_t>{0, 16}, {2, 0}}) {
    target::MatMul<inlay::AllFormats>(WeightType::kQ4_K, problem.packed.bytes().data(), 16, inlay::DynamicExtent{256},
                                      problem.x, 0, token_end, 0, row_end, output);
  }
  for (const float value : out) BOOST_TEST(value == kUntouched);
}

BOOST_AUTO_TEST_SUITE_END()
