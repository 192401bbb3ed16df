// Products of pairs of 16-bit numbers. F16: bit for bit against plain loops over the same integers, which are compared with
// the true products. BF16: against sums in double. Both: every split of the work gives the same bits.
#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "inlay/core/arena.hpp"
#include "inlay/core/owned_buffer.hpp"
#include "inlay/formats/float16.hpp"
#include "inlay/kernels/matmul-inl.hpp"
#include "inlay/kernels/pack.hpp"
#include "inlay/kernels/quantize-inl.hpp"
#include "tests/support/rounding.hpp"

namespace {

using inlay::WeightType;
namespace target = inlay::HWY_NAMESPACE;

constexpr float kUntouched = 12345.0f;

// The types that this target multiplies in pairs.
std::vector<WeightType> PairTypes() {
  std::vector<WeightType> types;
  if (!inlay_test::SkipsF16Pairs()) types.push_back(WeightType::kF16);
  if (!inlay_test::SkipsBF16Pairs()) types.push_back(WeightType::kBF16);
  return types;
}

float ToFloat(WeightType type, std::uint16_t bits) {
  return type == WeightType::kF16 ? inlay::F16ToF32(bits) : inlay::BF16ToF32(bits);
}

struct Problem {
  WeightType type;
  std::size_t rows, cols, tokens;
  std::vector<std::uint16_t> weights;  // [rows, cols]
  inlay::OwnedBuffer packed, memory;
  inlay::Activations x;

  Problem(WeightType weight_type, std::size_t row_count, std::size_t col_count, std::size_t token_count, unsigned seed)
      : type(weight_type), rows(row_count), cols(col_count), tokens(token_count), weights(rows * cols) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (std::uint16_t& weight : weights) {
      const float value = normal(random);
      weight = type == WeightType::kF16 ? inlay::F32ToF16(value) : inlay::F32ToBF16(value);
    }
    const inlay::ActivationKinds kinds = inlay::ActivationKindOf(type);
    inlay::MemoryCounter counter;
    BOOST_REQUIRE(inlay::MakeActivations(counter, kinds, tokens, cols));
    memory = *inlay::OwnedBuffer::Create(counter.used());
    inlay::Arena arena = *inlay::Arena::Create(memory.bytes());
    x = *inlay::MakeActivations(arena, kinds, tokens, cols);
    std::fill_n(x.values, tokens * x.stride, std::numeric_limits<float>::quiet_NaN());  // what lies behind a row is not read
    for (std::size_t t = 0; t < tokens; ++t) {
      for (std::size_t k = 0; k < cols; ++k) x.values[t * x.stride + k] = normal(random);
    }
    Prepare();
  }

  // After a change of `weights` or `x.values`.
  void Prepare() {
    packed = *inlay::OwnedBuffer::Create(inlay::PackedBytes(type, rows, cols));
    for (std::size_t row = 0; row < rows; row += inlay::kRowTile) {
      inlay::PackTile(type, reinterpret_cast<const std::byte*>(weights.data() + row * cols), 2 * cols,
                      std::min(inlay::kRowTile, rows - row), cols,
                      packed.bytes().data() + row / inlay::kRowTile * inlay::PackedTileBytes(type, cols));
    }
    target::QuantizeRows(inlay::ActivationKindOf(type), cols, 0, tokens, x);
  }

  double Weight(std::size_t row, std::size_t col) const {
    return static_cast<double>(ToFloat(type, weights[row * cols + col]));
  }
  double Value(std::size_t token, std::size_t col) const { return static_cast<double>(x.values[token * x.stride + col]); }

  // What the kernels compute for F16: 64 columns as integers, whose sum is multiplied with both scales.
  float ExpectedF16(std::size_t row, std::size_t token) const {
    float sum = 0.0f;
    for (std::size_t first = 0; first < cols; first += 64) {
      const std::size_t end = std::min(cols, first + 64);
      double most = 0, squares = 0;
      for (std::size_t k = first; k < end; ++k) {
        most = std::max(most, std::fabs(Weight(row, k)));
        squares += Weight(row, k) * Weight(row, k);
      }
      // The next BF16 number from the exact scale on.
      const double least = std::max(most / 32760.0, std::sqrt(squares) / 46300.0);
      float scale = inlay::BF16ToF32(inlay::F32ToBF16(squares == 0 ? 1.0f : static_cast<float>(least)));
      if (static_cast<double>(scale) < least) scale += std::ldexp(1.0f, std::ilogb(scale) - 7);
      const float inverse = 1.0f / scale;
      std::int64_t dot = 0;
      for (std::size_t k = first; k < end; ++k) {
        // Of the exact product, as the kernel's multiply-add rounds it.
        const double level = std::nearbyint(Weight(row, k) * static_cast<double>(inverse));
        dot += static_cast<std::int64_t>(level) * static_cast<std::int16_t>(x.int16.values[token * x.int16.value_stride + k]);
      }
      BOOST_REQUIRE(dot >= std::numeric_limits<std::int32_t>::min() && dot <= std::numeric_limits<std::int32_t>::max());
      const float value = static_cast<float>(dot) * scale;
      sum = std::fma(value, x.int16.scales[token * x.int16.scale_stride + first / 64], sum);
    }
    return sum;
  }

  void Multiply(std::size_t t0, std::size_t t1, std::size_t r0, std::size_t r1, std::vector<float>& out, std::size_t stride,
                bool accumulate) const {
    target::MatMul<inlay::AllFormats>(type, packed.bytes().data(), rows, inlay::DynamicExtent{cols}, x, t0, t1, r0, r1,
                                      {out.data(), stride, accumulate});
  }
  std::vector<float> Whole() const {
    std::vector<float> out(tokens * rows, kUntouched);
    Multiply(0, tokens, 0, rows, out, rows, false);
    return out;
  }
};

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

void RequireExact(const Problem& problem) {
  const std::vector<float> got = problem.Whole();
  for (std::size_t t = 0; t < problem.tokens; ++t) {
    for (std::size_t row = 0; row < problem.rows; ++row) {
      const float expected = problem.ExpectedF16(row, t);
      BOOST_REQUIRE_MESSAGE(std::memcmp(&expected, &got[t * problem.rows + row], sizeof(float)) == 0,
                            "[" << problem.rows << ", " << problem.cols << "] row " << row << " token " << t << " of "
                                << problem.tokens << ": expected " << expected << ", got " << got[t * problem.rows + row]);
    }
  }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(kernels_pair_matmul)

BOOST_AUTO_TEST_CASE(f16_gives_the_bits_of_the_plain_loops) {
  if (inlay_test::SkipsF16Pairs()) return;
  unsigned seed = 0;
  for (const std::size_t rows : {1u, 15u, 16u, 17u, 33u, 64u, 100u}) {
    for (const std::size_t cols : {1u, 2u, 3u, 63u, 64u, 65u, 255u, 256u, 257u, 400u}) {
      for (const std::size_t tokens : {1u, 2u, 3u, 5u, 7u, 13u}) RequireExact(Problem(WeightType::kF16, rows, cols, tokens, ++seed));
    }
  }
  for (const std::size_t tokens : {30u, 256u, 257u, 300u}) RequireExact(Problem(WeightType::kF16, 37, 576, tokens, ++seed));
}

// Weights and activations that are proportional make the largest sum that a block can have; with one large value, both sides
// reach their largest integers.
BOOST_AUTO_TEST_CASE(f16_sums_do_not_overflow) {
  if (inlay_test::SkipsF16Pairs()) return;
  for (const float large : {1.0f, 3.0f, 60000.0f}) {
    for (const bool negative : {false, true}) {
      Problem problem(WeightType::kF16, 16, 128, 7, 1);
      for (std::size_t i = 0; i < problem.weights.size(); ++i) problem.weights[i] = inlay::F32ToF16(i % 64 == 5 ? large : 1.0f);
      for (std::size_t t = 0; t < 7; ++t) {
        for (std::size_t k = 0; k < 128; ++k) {
          const float value = k % 64 == 5 ? large : 1.0f;
          problem.x.values[t * problem.x.stride + k] = negative ? -value : value;
        }
      }
      problem.Prepare();
      RequireExact(problem);
      const double expected = 2.0 * (63.0 + static_cast<double>(large) * static_cast<double>(large)) * (negative ? -1.0 : 1.0);
      for (const float sum : problem.Whole()) BOOST_TEST(std::fabs(static_cast<double>(sum) / expected - 1.0) < 1e-3);
    }
  }
}

// The error against products of the true weights and activations is smaller than if those activations were rounded to F16,
// which is what a processor's F16 instructions would need.
BOOST_AUTO_TEST_CASE(f16_loses_less_than_f16_activations) {
  if (inlay_test::SkipsF16Pairs()) return;
  for (const std::size_t cols : {64u, 1000u, 4096u}) {
    const Problem problem(WeightType::kF16, 64, cols, 24, static_cast<unsigned>(cols));
    const std::vector<float> got = problem.Whole();
    double here = 0, halves = 0;
    for (std::size_t t = 0; t < problem.tokens; ++t) {
      for (std::size_t r = 0; r < problem.rows; ++r) {
        double exact = 0, rounded = 0;
        for (std::size_t k = 0; k < cols; ++k) {
          exact += problem.Weight(r, k) * problem.Value(t, k);
          const float half = inlay::F16ToF32(inlay::F32ToF16(static_cast<float>(problem.Value(t, k))));
          rounded += problem.Weight(r, k) * static_cast<double>(half);
        }
        here += std::pow(static_cast<double>(got[t * problem.rows + r]) - exact, 2);
        halves += std::pow(rounded - exact, 2);
      }
    }
    BOOST_TEST_MESSAGE(cols << " columns: error " << std::sqrt(here / halves) << " of that of F16 activations");
    BOOST_TEST(here < halves);
  }
}

BOOST_AUTO_TEST_CASE(bf16_equals_double_sums_of_rounded_activations) {
  if (inlay_test::SkipsBF16Pairs()) return;
  unsigned seed = 0;
  for (const std::size_t rows : {1u, 16u, 17u, 33u, 100u}) {
    for (const std::size_t cols : {1u, 3u, 33u, 64u, 257u, 600u}) {
      for (const std::size_t tokens : {1u, 2u, 5u, 13u, 30u}) {
        const Problem problem(WeightType::kBF16, rows, cols, tokens, ++seed);
        const std::vector<float> got = problem.Whole();
        for (std::size_t t = 0; t < tokens; ++t) {
          for (std::size_t r = 0; r < rows; ++r) {
            double sum = 0, magnitude = 0;
            for (std::size_t k = 0; k < cols; ++k) {
              const float value = inlay::BF16ToF32(inlay::F32ToBF16(static_cast<float>(problem.Value(t, k))));
              const double product = problem.Weight(r, k) * static_cast<double>(value);
              sum += product;
              magnitude += std::fabs(product);
            }
            const double bound = static_cast<double>(cols + 2) * 0x1p-24 * magnitude;
            BOOST_REQUIRE(std::fabs(static_cast<double>(got[t * rows + r]) - sum) <= bound);
          }
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(splits_of_tokens_and_rows_give_the_same_bits) {
  std::mt19937 random(9);
  for (const WeightType type : PairTypes()) {
    for (const std::size_t rows : {16u, 43u, 160u, 301u}) {
      for (const std::size_t cols : {5u, 64u, 288u, 700u}) {
        const std::size_t tokens = 65, stride = rows + 3;
        const Problem problem(type, rows, cols, tokens, static_cast<unsigned>(rows + cols));
        std::vector<float> whole(tokens * stride, kUntouched);
        problem.Multiply(0, tokens, 0, rows, whole, stride, false);
        for (int round = 0; round < 6; ++round) {
          std::vector<float> out(tokens * stride, kUntouched);
          for (std::size_t t = 0; t < tokens;) {
            const std::size_t t1 = round == 0 ? t + 1 : std::min(tokens, t + 1 + random() % 40);
            for (std::size_t r = 0; r < rows;) {
              const std::size_t r1 = std::min(rows, r + 16 * (1 + random() % 9));
              problem.Multiply(t, t1, r, r1, out, stride, false);
              r = r1;
            }
            t = t1;
          }
          BOOST_TEST(SameBits(out, whole));
        }
        std::vector<float> added(tokens * stride, 3.0f);
        problem.Multiply(0, tokens, 0, rows, added, stride, true);
        bool sums = true;
        for (std::size_t i = 0; i < added.size(); ++i) sums = sums && added[i] == (i % stride < rows ? whole[i] + 3.0f : 3.0f);
        BOOST_TEST(sums);
      }
    }
  }
}

// So long that only some tokens' activations fit a cache together; the last block of tokens has one.
BOOST_AUTO_TEST_CASE(tokens_alone_give_the_bits_of_all_where_rows_are_long) {
  for (const WeightType type : PairTypes()) {
    const Problem problem(type, 18, 16384, 193, 21);
    const std::vector<float> whole = problem.Whole();
    std::vector<float> out(whole.size(), kUntouched);
    for (std::size_t t = 0; t < problem.tokens; ++t) problem.Multiply(t, t + 1, 0, problem.rows, out, problem.rows, false);
    BOOST_TEST(SameBits(out, whole));
  }
}

// They must reach the logits, where they become an error.
BOOST_AUTO_TEST_CASE(what_is_not_finite_stays_so) {
  for (const WeightType type : PairTypes()) {
    for (const std::uint16_t bad : {std::uint16_t{0x7FFF}, static_cast<std::uint16_t>(type == WeightType::kF16 ? 0x7C00 : 0x7F80)}) {
      for (const std::size_t tokens : {1u, 40u}) {
        Problem problem(type, 20, 200, tokens, 3);
        problem.weights[7 * 200 + 130] = bad;
        problem.Prepare();
        const std::vector<float> got = problem.Whole();
        for (std::size_t t = 0; t < tokens; ++t) {
          for (std::size_t r = 0; r < 20; ++r) BOOST_REQUIRE_EQUAL(std::isfinite(got[t * 20 + r]), r != 7);
        }
        Problem other(type, 20, 200, tokens, 4);
        other.x.values[199] = bad == 0x7FFF ? std::numeric_limits<float>::quiet_NaN() : std::numeric_limits<float>::infinity();
        other.Prepare();
        const std::vector<float> sums = other.Whole();
        for (std::size_t i = 0; i < sums.size(); ++i) BOOST_REQUIRE_EQUAL(std::isfinite(sums[i]), i >= 20);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(rows_of_zeros_and_of_the_smallest_numbers) {
  if (inlay_test::SkipsF16Pairs()) return;
  Problem problem(WeightType::kF16, 16, 64, 3, 5);
  for (std::size_t k = 0; k < 64; ++k) {
    problem.weights[k] = 0;
    problem.weights[64 + k] = static_cast<std::uint16_t>(k == 3 ? 0x8001 : 0);  // -2^-24
  }
  problem.Prepare();
  const std::vector<float> got = problem.Whole();
  for (std::size_t t = 0; t < 3; ++t) {
    BOOST_TEST(got[t * 16] == 0.0f);
    BOOST_TEST(std::fabs(static_cast<double>(got[t * 16 + 1]) * -0x1p24 - problem.Value(t, 3)) < 1e-3);
  }
}

BOOST_AUTO_TEST_SUITE_END()
