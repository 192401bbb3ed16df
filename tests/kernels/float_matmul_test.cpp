// Float matrix products against sums in double, and bit for bit against themselves for every split of the work: by float32
// multiply-adds, even where this target has others for F16 and BF16 (pair_matmul_test.cpp).
#define BOOST_TEST_DYN_LINK
#include "inlay/kernels/float_matmul-inl.hpp"

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "inlay/formats/float16.hpp"

namespace {

using inlay::WeightType;
namespace target = inlay::HWY_NAMESPACE;

constexpr float kUntouched = 12345.0f;

struct Case {
  std::size_t rows, cols, tokens, stride;
  WeightType type;
  std::vector<float> weights;     // [rows, cols] as the kernel sees them (after rounding to the type)
  std::vector<std::byte> packed;  // 16-row tiles, padding rows filled with NaN: they must not reach an output
  std::vector<float> x;           // [tokens, stride], padding NaN

  Case(WeightType weight_type, std::size_t row_count, std::size_t col_count, std::size_t token_count, unsigned seed)
      : rows(row_count),
        cols(col_count),
        tokens(token_count),
        stride(inlay::RoundUp(col_count, 16)),
        type(weight_type) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    weights.resize(rows * cols);
    x.assign(tokens * stride, NAN);
    packed.assign(inlay::PackedBytes(type, rows, cols), std::byte{0xFF});
    for (std::size_t t = 0; t < tokens; ++t) {
      for (std::size_t c = 0; c < cols; ++c) x[t * stride + c] = normal(random);
    }
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t c = 0; c < cols; ++c) {
        const float value = normal(random);
        const std::size_t before = inlay::PackedColumnsAt(type, cols) / (16 * inlay::Info(type).block_bytes);
        const std::size_t at = (r / 16 * (before + cols) + before + c) * 16 + r % 16;
        if (type == WeightType::kF32) {
          weights[r * cols + c] = value;
          std::memcpy(packed.data() + at * 4, &value, 4);
        } else {
          const bool half = type == WeightType::kF16;
          const std::uint16_t bits = half ? inlay::F32ToF16(value) : inlay::F32ToBF16(value);
          weights[r * cols + c] = half ? inlay::F16ToF32(bits) : inlay::BF16ToF32(bits);
          std::memcpy(packed.data() + at * 2, &bits, 2);
        }
      }
    }
  }

  inlay::Activations activations() {
    inlay::Activations a;
    a.values = x.data();
    a.stride = stride;
    return a;
  }
};

template <class Cols>
void Multiply(Case& c, Cols cols, std::size_t t0, std::size_t t1, std::size_t r0, std::size_t r1,
              std::vector<float>& out, std::size_t out_stride, bool accumulate) {
  const inlay::Output output{out.data(), out_stride, accumulate};
  const auto x = c.activations();
  switch (c.type) {
    case WeightType::kF32:
      return target::MatMulFloat<WeightType::kF32>(c.packed.data(), c.rows, cols, x, t0, t1, r0, r1, output);
    case WeightType::kF16:
      return target::MatMulFloat<WeightType::kF16>(c.packed.data(), c.rows, cols, x, t0, t1, r0, r1, output);
    default: return target::MatMulFloat<WeightType::kBF16>(c.packed.data(), c.rows, cols, x, t0, t1, r0, r1, output);
  }
}

// The chain of cols rounded sums: each step loses at most half a unit of the partial sum, which is bounded by the sum of
// magnitudes. cols * 2^-24 * sum |w x| (plus the product's own rounding where there is no fused multiply-add).
void CheckAgainstDouble(const Case& c, const std::vector<float>& out, std::size_t out_stride, float before) {
  std::size_t wrong = 0;
  for (std::size_t t = 0; t < c.tokens; ++t) {
    for (std::size_t r = 0; r < c.rows; ++r) {
      double sum = 0, magnitude = 0;
      for (std::size_t k = 0; k < c.cols; ++k) {
        const double product = static_cast<double>(c.weights[r * c.cols + k]) * static_cast<double>(c.x[t * c.stride + k]);
        sum += product;
        magnitude += std::fabs(product);
      }
      const double expected = sum + static_cast<double>(before);
      const double bound = (static_cast<double>(c.cols) + 2) * 0x1p-24 * (magnitude + std::fabs(expected));
      if (!(std::fabs(static_cast<double>(out[t * out_stride + r]) - expected) <= bound)) ++wrong;
    }
    for (std::size_t r = c.rows; r < out_stride; ++r) wrong += out[t * out_stride + r] != kUntouched;
  }
  BOOST_TEST(wrong == 0u, inlay::Name(c.type) << " " << c.rows << "x" << c.cols << " tokens " << c.tokens);
}

std::vector<float> Whole(Case& c, std::size_t out_stride, bool accumulate) {
  std::vector<float> out(c.tokens * out_stride, kUntouched);
  if (accumulate) {
    for (std::size_t t = 0; t < c.tokens; ++t)
      std::fill_n(out.begin() + static_cast<long>(t * out_stride), c.rows, 3.0f);
  }
  Multiply(c, inlay::DynamicExtent{c.cols}, 0, c.tokens, 0, c.rows, out, out_stride, accumulate);
  return out;
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

const WeightType kTypes[] = {WeightType::kF32, WeightType::kF16, WeightType::kBF16};

}  // namespace

BOOST_AUTO_TEST_SUITE(kernels_float_matmul)

BOOST_AUTO_TEST_CASE(EqualsDoubleSumsWithinRounding) {
  for (const WeightType type : kTypes) {
    for (const std::size_t rows : {1u, 15u, 16u, 17u, 48u, 64u, 100u, 172u, 257u}) {
      for (const std::size_t cols : {1u, 3u, 8u, 33u, 64u, 172u, 400u}) {
        for (const std::size_t tokens : {1u, 2u, 3u, 5u, 7u, 13u, 30u, 40u}) {
          Case c(type, rows, cols, tokens, static_cast<unsigned>(rows * 31 + cols * 7 + tokens));
          CheckAgainstDouble(c, Whole(c, rows + 5, false), rows + 5, 0.0f);
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(AccumulateAddsTheFinishedSum) {
  for (const WeightType type : kTypes) {
    for (const std::size_t tokens : {1u, 4u, 13u}) {
      Case c(type, 53, 100, tokens, 5);
      const auto sums = Whole(c, 53 + 5, false);
      const auto added = Whole(c, 53 + 5, true);
      CheckAgainstDouble(c, added, 53 + 5, 3.0f);
      for (std::size_t t = 0; t < tokens; ++t) {
        for (std::size_t r = 0; r < 53; ++r) BOOST_TEST(added[t * 58 + r] == sums[t * 58 + r] + 3.0f);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(SplitsOfTokensAndRowsGiveTheSameBits) {
  std::mt19937 random(9);
  for (const WeightType type : kTypes) {
    for (const std::size_t rows : {16u, 43u, 160u, 301u}) {
      for (const std::size_t cols : {5u, 33u, 64u, 288u}) {
        const std::size_t tokens = 29;
        Case c(type, rows, cols, tokens, static_cast<unsigned>(rows + cols));
        const std::size_t stride = rows + 3;
        const auto whole = Whole(c, stride, false);
        for (int round = 0; round < 6; ++round) {
          std::vector<float> out(tokens * stride, kUntouched);
          for (std::size_t t = 0; t < tokens;) {
            const std::size_t t1 = round == 0 ? t + 1 : std::min(tokens, t + 1 + random() % 20);
            for (std::size_t r = 0; r < rows;) {
              const std::size_t r1 = std::min(rows, r + 16 * (1 + random() % 9));
              Multiply(c, inlay::DynamicExtent{cols}, t, t1, r, r1, out, stride, false);
              r = r1;
            }
            t = t1;
          }
          BOOST_TEST(SameBits(out, whole));
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(CompileTimeColumnsGiveTheSameBits) {
  for (const WeightType type : kTypes) {
    for (const std::size_t tokens : {1u, 9u}) {
      const auto check = [&](auto cols) {
        for (const std::size_t rows : {64u, 172u, 512u}) {
          Case c(type, rows, cols, tokens, 3);
          std::vector<float> out(tokens * rows, kUntouched);
          Multiply(c, cols, 0, tokens, 0, rows, out, rows, false);
          BOOST_TEST(SameBits(out, Whole(c, rows, false)));
        }
      };
      check(inlay::StaticExtent<1>());
      check(inlay::StaticExtent<64>());
      check(inlay::StaticExtent<172>());
      check(inlay::StaticExtent<288>());
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
