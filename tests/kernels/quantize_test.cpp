#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cfenv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "inlay/core/owned_buffer.hpp"
#include "inlay/formats/float16.hpp"
#include "inlay/kernels/quantize-inl.hpp"
#include "tests/support/rounding.hpp"

namespace {

using inlay::ActivationKinds;

struct Storage {
  Storage(ActivationKinds kinds, std::size_t tokens, std::size_t cols) {
    inlay::MemoryCounter counter;
    BOOST_REQUIRE(inlay::MakeActivations(counter, kinds, tokens, cols));
    buffer = *inlay::OwnedBuffer::Create(counter.used());
    inlay::Arena arena = *inlay::Arena::Create(buffer.bytes());
    x = *inlay::MakeActivations(arena, kinds, tokens, cols);
  }
  inlay::OwnedBuffer buffer;
  inlay::Activations x;
};

constexpr ActivationKinds kBoth = inlay::kActivationBlock32 | inlay::kActivationBlock256;

}  // namespace

BOOST_AUTO_TEST_SUITE(kernels_quantize)

// The definition, in plain code: scale = largest magnitude / 127, rounded to nearest even.
BOOST_AUTO_TEST_CASE(equals_the_definition) {
  const std::size_t tokens = 3, cols = 768;
  Storage storage(kBoth, tokens, cols);
  const inlay::Activations& x = storage.x;
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0.0f, 2.0f);
  for (std::size_t t = 0; t < tokens; ++t) {
    for (std::size_t k = 0; k < cols; ++k) x.values[t * x.stride + k] = normal(random);
  }
  x.values[5] = 1e30f;  // an outlier: everything else in its block becomes zero, nothing overflows
  inlay::HWY_NAMESPACE::QuantizeRows(kBoth, cols, 0, tokens, x);
  for (const std::size_t block : {std::size_t{32}, std::size_t{256}}) {
    const inlay::QuantizedRows& rows = block == 32 ? x.block32 : x.block256;
    for (std::size_t t = 0; t < tokens; ++t) {
      for (std::size_t b = 0; b < cols / block; ++b) {
        const float* values = x.values + t * x.stride + b * block;
        const std::int8_t* got = rows.values + t * rows.value_stride + b * block;
        float most = 0.0f;
        for (std::size_t i = 0; i < block; ++i) most = std::max(most, std::fabs(values[i]));
        BOOST_REQUIRE_EQUAL(rows.scales[t * rows.scale_stride + b], most / 127.0f);
        int sums[16] = {};
        for (std::size_t i = 0; i < block; ++i) {
          BOOST_REQUIRE_EQUAL(static_cast<int>(got[i]), static_cast<int>(std::nearbyint(values[i] * (127.0f / most))));
          sums[i / 16] += got[i];
        }
        const std::int16_t* got_sums = rows.sums + t * rows.sum_stride + b * (block == 32 ? 1 : 24);
        if (block == 32) {
          BOOST_REQUIRE_EQUAL(got_sums[0], sums[0] + sums[1]);
        } else {
          for (int i = 0; i < 16; ++i) BOOST_REQUIRE_EQUAL(got_sums[i], sums[i]);
          for (int i = 0; i < 8; ++i) BOOST_REQUIRE_EQUAL(got_sums[16 + i], sums[2 * i] + sums[2 * i + 1]);
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(ties_round_to_even_and_extremes_are_127) {
  Storage storage(kBoth, 1, 256);
  const inlay::Activations& x = storage.x;
  for (std::size_t k = 0; k < 256; ++k) x.values[k] = static_cast<float>(k % 8) + 0.5f;
  x.values[0] = 127.0f;
  x.values[32] = -127.0f;
  for (std::size_t b = 2; b < 8; ++b) x.values[32 * b] = 127.0f;
  inlay::HWY_NAMESPACE::QuantizeRows(kBoth, 256, 0, 1, x);
  for (const std::int8_t* got : {x.block32.values, x.block256.values}) {
    BOOST_TEST(got[0] == 127);
    BOOST_TEST(got[32] == -127);
    const int expected[] = {0, 2, 2, 4, 4, 6, 6, 8};
    for (std::size_t k = 1; k < 256; ++k) {
      if (k % 32 != 0) BOOST_REQUIRE_EQUAL(static_cast<int>(got[k]), expected[k % 8]);
    }
  }
}

BOOST_AUTO_TEST_CASE(zeros_and_tiny_values_are_zeros) {
  for (const float tiny : {0.0f, -0.0f, 1e-45f, 1e-38f, 1e-31f}) {
    Storage storage(kBoth, 1, 256);
    const inlay::Activations& x = storage.x;
    for (std::size_t k = 0; k < 256; ++k) x.values[k] = k % 2 == 0 ? tiny : -tiny;
    inlay::HWY_NAMESPACE::QuantizeRows(kBoth, 256, 0, 1, x);
    for (std::size_t k = 0; k < 256; ++k) {
      BOOST_REQUIRE_EQUAL(static_cast<int>(x.block32.values[k]), 0);
      BOOST_REQUIRE_EQUAL(static_cast<int>(x.block256.values[k]), 0);
    }
    BOOST_TEST(x.block32.scales[0] == 0.0f);
    BOOST_TEST(x.block256.scales[0] == 0.0f);
  }
}

// What is not finite must reach the logits, where it becomes an error.
BOOST_AUTO_TEST_CASE(not_finite_values_come_through_in_the_scale) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float bad : {infinity, -infinity, std::numeric_limits<float>::quiet_NaN(),
                          -std::numeric_limits<float>::quiet_NaN()}) {
    for (const std::size_t at : {std::size_t{0}, std::size_t{17}, std::size_t{255}}) {
      Storage storage(kBoth, 1, 256);
      const inlay::Activations& x = storage.x;
      for (std::size_t k = 0; k < 256; ++k) x.values[k] = static_cast<float>(k);
      x.values[at] = bad;
      inlay::HWY_NAMESPACE::QuantizeRows(kBoth, 256, 0, 1, x);
      BOOST_TEST(!std::isfinite(x.block256.scales[0]));
      BOOST_TEST(!std::isfinite(x.block32.scales[at / 32]));
      for (std::size_t b = 0; b < 8; ++b) {
        if (b != at / 32) BOOST_TEST(std::isfinite(x.block32.scales[b]));
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(the_largest_finite_values_stay_finite) {
  Storage storage(kBoth, 1, 256);
  const inlay::Activations& x = storage.x;
  const float largest = std::numeric_limits<float>::max();
  for (std::size_t k = 0; k < 256; ++k) x.values[k] = k % 3 == 0 ? largest : -largest;
  inlay::HWY_NAMESPACE::QuantizeRows(kBoth, 256, 0, 1, x);
  BOOST_TEST(x.block256.scales[0] == largest / 127.0f);
  for (std::size_t k = 0; k < 256; ++k) {
    BOOST_REQUIRE_EQUAL(static_cast<int>(x.block256.values[k]), k % 3 == 0 ? 127 : -127);
    BOOST_REQUIRE_EQUAL(static_cast<int>(x.block32.values[k]), k % 3 == 0 ? 127 : -127);
  }
}

BOOST_AUTO_TEST_CASE(only_the_tokens_asked_for_are_touched) {
  Storage storage(kBoth, 3, 256);
  const inlay::Activations& x = storage.x;
  for (std::size_t i = 0; i < 3 * x.stride; ++i) x.values[i] = 1.0f;
  for (std::size_t i = 0; i < 3 * x.block256.value_stride; ++i) x.block256.values[i] = x.block32.values[i] = 55;
  inlay::HWY_NAMESPACE::QuantizeRows(inlay::kActivationBlock256, 256, 1, 2, x);
  for (std::size_t k = 0; k < 256; ++k) {
    BOOST_REQUIRE_EQUAL(static_cast<int>(x.block256.values[k]), 55);
    BOOST_REQUIRE_EQUAL(static_cast<int>(x.block256.values[x.block256.value_stride + k]), 127);
    BOOST_REQUIRE_EQUAL(static_cast<int>(x.block256.values[2 * x.block256.value_stride + k]), 55);
    BOOST_REQUIRE_EQUAL(static_cast<int>(x.block32.values[x.block32.value_stride + k]), 55);
  }
}

// The smallest scale with which each integer fits and their norm is 46300, so that sums of products with weights fit
// (pair_matmul_test.cpp).
BOOST_AUTO_TEST_CASE(int16_equals_the_definition) {
  if (inlay_test::SkipsF16Pairs()) return;
  std::mt19937 random(2);
  std::normal_distribution<float> normal(0.0f, 2.0f);
  for (const std::size_t cols : {1u, 63u, 64u, 100u, 640u}) {
    Storage storage(inlay::kActivationInt16, 2, cols);
    const inlay::Activations& x = storage.x;
    for (std::size_t i = 0; i < 2 * x.stride; ++i) x.values[i] = normal(random);
    x.values[0] = cols == 640 ? 1e38f : cols == 100 ? 1e-29f : 1000.0f;
    inlay::HWY_NAMESPACE::QuantizeRows(inlay::kActivationInt16, cols, 0, 2, x);
    for (std::size_t t = 0; t < 2; ++t) {
      for (std::size_t first = 0; first < cols; first += 64) {
        const std::size_t count = std::min<std::size_t>(64, cols - first);
        const float* values = x.values + t * x.stride + first;
        const auto* got = reinterpret_cast<const std::int16_t*>(x.int16.values) + t * x.int16.value_stride + first;
        const double scale = static_cast<double>(x.int16.scales[t * x.int16.scale_stride + first / 64]);
        double squares = 0, norm = 0, most = 0;
        for (std::size_t k = 0; k < count; ++k) {
          most = std::max(most, std::fabs(static_cast<double>(values[k])));
          squares += static_cast<double>(values[k]) * static_cast<double>(values[k]);
          norm += static_cast<double>(got[k]) * static_cast<double>(got[k]);
          BOOST_REQUIRE(std::fabs(static_cast<double>(values[k]) / scale - static_cast<double>(got[k])) <= 0.51);
        }
        for (std::size_t k = count; k < 64; ++k) BOOST_REQUIRE_EQUAL(got[k], 0);
        BOOST_TEST(std::fabs(std::max(std::sqrt(squares) / 46300.0, most / 32760.0) / scale - 1.0) < 1e-5);
        BOOST_TEST(std::sqrt(norm) <= 46304.0);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(int16_of_tiny_and_not_finite_values) {
  if (inlay_test::SkipsF16Pairs()) return;
  for (const float value : {0.0f, 1e-31f, 1e-45f, std::numeric_limits<float>::max(), std::numeric_limits<float>::infinity(),
                            std::numeric_limits<float>::quiet_NaN()}) {
    Storage storage(inlay::kActivationInt16, 1, 64);
    const inlay::Activations& x = storage.x;
    std::fill_n(x.values, 64, value);
    inlay::HWY_NAMESPACE::QuantizeRows(inlay::kActivationInt16, 64, 0, 1, x);
    BOOST_TEST(std::isfinite(x.int16.scales[0]) == std::isfinite(value));
    const auto level = static_cast<std::int16_t>(x.int16.values[63]);
    if (value == std::numeric_limits<float>::max()) {
      BOOST_TEST(std::abs(level - 46300 / 8) <= 1);
    } else {
      BOOST_TEST(level == 0);
      if (value < 1.0f) BOOST_TEST(x.int16.scales[0] == 0.0f);
    }
  }
}

BOOST_AUTO_TEST_CASE(bf16_rounds_to_nearest_even_and_ends_with_zeros) {
  if (inlay_test::SkipsBF16Pairs()) return;
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  for (const std::size_t cols : {1u, 17u, 63u, 64u, 130u}) {
    Storage storage(inlay::kActivationBF16, 2, cols);
    const inlay::Activations& x = storage.x;
    for (std::size_t i = 0; i < 2 * x.stride; ++i) x.values[i] = normal(random);
    inlay::HWY_NAMESPACE::QuantizeRows(inlay::kActivationBF16, cols, 0, 2, x);
    for (std::size_t t = 0; t < 2; ++t) {
      for (std::size_t k = 0; k < (cols + 63) / 64 * 64; ++k) {
        const std::uint16_t expected = k < cols ? inlay::F32ToBF16(x.values[t * x.stride + k]) : std::uint16_t{0};
        BOOST_REQUIRE_EQUAL(x.bf16.values[t * x.bf16.value_stride + k], expected);
      }
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
