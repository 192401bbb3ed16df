// Row functions against double precision with stated bounds, at every tail length.
#define BOOST_TEST_DYN_LINK
#include "inlay/kernels/elementwise-inl.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "inlay/kernels/rope.hpp"

namespace {

namespace target = inlay::HWY_NAMESPACE;
constexpr float kUntouched = 54321.0f;

std::vector<float> Random(std::size_t n, unsigned seed, float scale) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> x(n);
  for (float& value : x) value = normal(random);
  return x;
}

double Relative(float value, double expected) {
  return std::fabs(static_cast<double>(value) - expected) / std::max(std::fabs(expected), 1e-300);
}

}  // namespace

HWY_BEFORE_NAMESPACE();
namespace {
void ExpNegative(const float* x, float* out) { target::Store16(target::ExpNegative16(target::Load16(x)), out); }
}  // namespace
HWY_AFTER_NAMESPACE();

BOOST_AUTO_TEST_SUITE(kernels_elementwise)

BOOST_AUTO_TEST_CASE(ExpIsWithinTwoUnitsInTheLastPlace) {
  std::vector<float> x, out;
  for (float value = -87.0f; value < 88.7f; value += 0.0007f) x.push_back(value);
  out.resize(x.size());
  target::Exp(x.data(), x.size(), out.data());
  double worst = 0, worst_negative = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    worst = std::max(worst, Relative(out[i], std::exp(static_cast<double>(x[i]))));
  }
  for (std::size_t i = 0; i + 16 <= x.size() && x[i + 15] <= 0; i += 16) {
    float lanes[16];
    ExpNegative(x.data() + i, lanes);
    for (std::size_t j = 0; j < 16; ++j) {
      worst_negative = std::max(worst_negative, Relative(lanes[j], std::exp(static_cast<double>(x[i + j]))));
    }
  }
  BOOST_TEST(worst < 2e-7);
  BOOST_TEST(worst > 0);
  BOOST_TEST(worst_negative < 2e-7);
}

BOOST_AUTO_TEST_CASE(ExpAtTheEdges) {
  const float infinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float x[16] = {0, -0.0f, infinity, -infinity, nan, 88.9f, 88.7f, -104.5f, -90.0f, -100.0f, 1, -1, 1000, -1000, 0.5f, 2};
  float out[16];
  target::Exp(x, 16, out);
  BOOST_TEST(out[0] == 1.0f);
  BOOST_TEST(out[1] == 1.0f);
  BOOST_TEST(out[2] == infinity);
  BOOST_TEST(out[3] == 0.0f);
  BOOST_TEST(std::isnan(out[4]));
  BOOST_TEST(out[5] == infinity);
  BOOST_TEST(std::isfinite(out[6]));
  BOOST_TEST(out[7] == 0.0f);
  // Subnormal results: off by less than one unit of 2^-149, unless the host flushes them to zero.
  BOOST_TEST(std::fabs(static_cast<double>(out[8]) - std::exp(-90.0)) <= 0x1p-149 + 2e-7 * std::exp(-90.0));
  BOOST_TEST(std::fabs(static_cast<double>(out[9]) - std::exp(-100.0)) <= 0x1p-149);
  BOOST_TEST(out[12] == infinity);
  BOOST_TEST(out[13] == 0.0f);
  float negative[16];
  ExpNegative(x, negative);
  BOOST_TEST(negative[0] == 1.0f);
  BOOST_TEST(negative[3] > 0.0f);
  BOOST_TEST(negative[3] < 1.3e-38f);
  BOOST_TEST(std::isnan(negative[4]));
}

BOOST_AUTO_TEST_CASE(RmsNormEqualsDouble) {
  for (const std::size_t n : {1u, 2u, 8u, 15u, 16u, 17u, 63u, 64u, 65u, 100u, 288u, 1000u, 2048u}) {
    const auto x = Random(n, static_cast<unsigned>(n), 3.0f), weight = Random(n, 99, 1.0f);
    for (const float epsilon : {1e-5f, 0.5f}) {
      double squares = 0;
      for (const float value : x) squares += static_cast<double>(value) * static_cast<double>(value);
      const double scale = 1.0 / std::sqrt(squares / static_cast<double>(n) + static_cast<double>(epsilon));
      std::vector<float> out(n + 1, kUntouched);
      target::RmsNorm(x.data(), weight.data(), n, epsilon, out.data());
      // Sum: n / 64 + 8 roundings of half a unit, halved by the root; then six more operations.
      const double bound = (static_cast<double>(n) / 128 + 10) * 0x1p-24;
      for (std::size_t i = 0; i < n; ++i) {
        BOOST_TEST(Relative(out[i], static_cast<double>(x[i]) * scale * static_cast<double>(weight[i])) <= bound);
      }
      BOOST_TEST(out[n] == kUntouched);
      auto in_place = x;
      target::RmsNorm(in_place.data(), weight.data(), n, epsilon, in_place.data());
      BOOST_TEST(std::memcmp(in_place.data(), out.data(), n * sizeof(float)) == 0);
    }
  }
}

BOOST_AUTO_TEST_CASE(SumOfSquaresHasOneOrderOnEveryTarget) {
  // Spelled out with plain floats; equal bits need a fused multiply-add here too.
#if defined(__FP_FAST_FMAF)
  for (const std::size_t n : {5u, 64u, 100u, 333u}) {
    const auto x = Random(n, 4, 1.0f);
    float sum[4][16] = {};
    for (std::size_t i = 0; i < n; ++i) {
      float& lane = sum[i < n / 64 * 64 ? i / 16 % 4 : 0][i % 16];
      lane = std::fma(x[i], x[i], lane);
    }
    float lanes[16];
    for (std::size_t i = 0; i < 16; ++i) lanes[i] = (sum[0][i] + sum[1][i]) + (sum[2][i] + sum[3][i]);
    for (std::size_t half = 8; half != 0; half /= 2) {
      for (std::size_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
    }
    BOOST_TEST(target::SumOfSquares(x.data(), n) == lanes[0]);
  }
#else
  BOOST_TEST(target::SumOfSquares(std::vector<float>{3, 4}.data(), 2) == 25.0f);
#endif
}

BOOST_AUTO_TEST_CASE(SiluMultiplyEqualsDouble) {
  for (const std::size_t n : {1u, 7u, 16u, 31u, 172u}) {
    auto gate = Random(n, 3, 5.0f);
    const auto up = Random(n, 4, 2.0f);
    gate[0] = n == 7 ? 200.0f : n == 16 ? -200.0f : 0.0f;
    std::vector<float> out(n + 1, kUntouched);
    target::SiluMultiply(gate.data(), up.data(), n, out.data());
    for (std::size_t i = 0; i < n; ++i) {
      const double x = static_cast<double>(gate[i]);
      const double expected = x / (1.0 + std::exp(-x)) * static_cast<double>(up[i]);
      BOOST_TEST(std::fabs(static_cast<double>(out[i]) - expected) <= 4e-7 * std::fabs(expected) + 1e-35);
    }
    BOOST_TEST(out[n] == kUntouched);
    gate[0] = std::numeric_limits<float>::quiet_NaN();
    target::SiluMultiply(gate.data(), up.data(), n, out.data());
    BOOST_TEST(std::isnan(out[0]));
  }
}

BOOST_AUTO_TEST_CASE(AddResidualAdds) {
  for (const std::size_t n : {1u, 16u, 37u}) {
    const auto x = Random(n, 1, 1.0f), before = Random(n, 2, 1.0f);
    auto sum = before;
    sum.push_back(kUntouched);
    target::AddResidual(x.data(), n, sum.data());
    for (std::size_t i = 0; i < n; ++i) BOOST_TEST(sum[i] == x[i] + before[i]);
    BOOST_TEST(sum[n] == kUntouched);
  }
}

BOOST_AUTO_TEST_CASE(SoftmaxEqualsDouble) {
  for (const std::size_t n : {1u, 2u, 15u, 16u, 33u, 512u, 4099u}) {
    for (const float shift : {0.0f, 1000.0f, -1000.0f}) {
      auto x = Random(n, static_cast<unsigned>(n), 4.0f);
      for (float& value : x) value += shift;
      auto p = x;
      p.push_back(kUntouched);
      target::Softmax(p.data(), n);
      double sum = 0, total = 0;
      const double largest = static_cast<double>(*std::max_element(x.begin(), x.end()));
      for (const float value : x) sum += std::exp(static_cast<double>(value) - largest);
      for (std::size_t i = 0; i < n; ++i) {
        // exp twice, the sum of n / 16 + 4 terms per lane, reciprocal and product; and the rounded difference.
        const double distance = largest - static_cast<double>(x[i]);
        const double bound = 4e-7 + (static_cast<double>(n) / 16 + 6 + distance) * 0x1p-24;
        BOOST_TEST(Relative(p[i], std::exp(static_cast<double>(x[i]) - largest) / sum) <= bound);
        total += static_cast<double>(p[i]);
      }
      BOOST_TEST(std::fabs(total - 1) < 2e-6);
      BOOST_TEST(p[n] == kUntouched);
    }
  }
}

BOOST_AUTO_TEST_CASE(RotationsEqualDouble) {
  for (const std::size_t rope_dim : {2u, 4u, 8u, 16u, 18u, 48u, 64u, 80u, 96u, 128u, 256u}) {
    const std::size_t half = rope_dim / 2;
    std::vector<float> frequencies(half), factors(half, 2.0f), table(2 * half + 1, kUntouched);
    factors[0] = 1.0f;
    inlay::RopeFrequencies(10000.0, 2.0, factors.data(), rope_dim, {}, frequencies.data());
    for (std::size_t i = 0; i < half; ++i) {
      const double expected = std::pow(10000.0, -2.0 * static_cast<double>(i) / static_cast<double>(rope_dim)) / 2.0 /
                              (i == 0 ? 1.0 : 2.0);
      BOOST_TEST(Relative(frequencies[i], expected) < 1e-7);
    }
    for (const std::size_t position : {0u, 1u, 777u, 100000u}) {
      inlay::RopeTable(frequencies.data(), half, position, 1.0, table.data());
      BOOST_TEST(table[2 * half] == kUntouched);
      const auto before = Random(rope_dim + 2, static_cast<unsigned>(position), 1.0f);
      auto pairs = before, halves = before;
      target::RotatePairs(table.data(), half, pairs.data());
      target::RotateHalves(table.data(), half, halves.data());
      for (std::size_t i = 0; i < half; ++i) {
        const double angle = static_cast<double>(position) * static_cast<double>(frequencies[i]);
        const auto check = [&](const std::vector<float>& after, std::size_t first, std::size_t second) {
          const double a = static_cast<double>(before[first]), b = static_cast<double>(before[second]);
          BOOST_TEST(std::fabs(static_cast<double>(after[first]) - (a * std::cos(angle) - b * std::sin(angle))) < 6e-7);
          BOOST_TEST(std::fabs(static_cast<double>(after[second]) - (b * std::cos(angle) + a * std::sin(angle))) < 6e-7);
        };
        check(pairs, 2 * i, 2 * i + 1);
        check(halves, i, i + half);
      }
      for (std::size_t i = rope_dim; i < rope_dim + 2; ++i) {
        BOOST_TEST(pairs[i] == before[i]);
        BOOST_TEST(halves[i] == before[i]);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(NormsWithoutWeightOrWithMeanEqualDouble) {
  for (const std::size_t n : {2u, 8u, 15u, 16u, 17u, 65u, 288u, 1000u}) {
    auto x = Random(n, static_cast<unsigned>(n), 3.0f);
    for (float& value : x) value += 5.0f;
    const auto weight = Random(n, 99, 1.0f), bias = Random(n, 98, 1.0f);
    double mean = 0, squares = 0, variance = 0;
    for (const float value : x) mean += static_cast<double>(value) / static_cast<double>(n);
    for (const float value : x) {
      const double d = static_cast<double>(value);
      squares += d * d / static_cast<double>(n);
      variance += (d - mean) * (d - mean) / static_cast<double>(n);
    }
    const double epsilon = 1e-3;
    std::vector<float> plain(n + 1, kUntouched), centered = plain, shifted = plain;
    target::RmsNorm(x.data(), n, 1e-3f, plain.data());
    target::LayerNorm(x.data(), weight.data(), nullptr, n, 1e-3f, centered.data());
    target::LayerNorm(x.data(), weight.data(), bias.data(), n, 1e-3f, shifted.data());
    for (std::size_t i = 0; i < n; ++i) {
      const double value = static_cast<double>(x[i]), w = static_cast<double>(weight[i]);
      const double normal = (value - mean) / std::sqrt(variance + epsilon) * w;
      BOOST_TEST(Relative(plain[i], value / std::sqrt(squares + epsilon)) < 2e-6);
      BOOST_TEST(std::fabs(static_cast<double>(centered[i]) - normal) < 1e-5);
      BOOST_TEST(std::fabs(static_cast<double>(shifted[i]) - normal - static_cast<double>(bias[i])) < 1e-5);
    }
    BOOST_TEST(plain[n] == kUntouched);
    BOOST_TEST(centered[n] == kUntouched);
    BOOST_TEST(shifted[n] == kUntouched);
    auto in_place = x;
    target::LayerNorm(in_place.data(), weight.data(), bias.data(), n, 1e-3f, in_place.data());
    BOOST_TEST(std::memcmp(in_place.data(), shifted.data(), n * sizeof(float)) == 0);
  }
}

BOOST_AUTO_TEST_CASE(ActivationsEqualDouble) {
  std::vector<float> x;
  for (float value = -12.0f; value < 12.0f; value += 0.0137f) x.push_back(value);
  x.insert(x.end(), {-1000.0f, 1000.0f, 0.0f});
  const std::size_t n = x.size();
  const auto up = Random(n, 5, 2.0f);
  const auto check = [&]<class Activate16>(Activate16, double bound, auto&& expected) HWY_ATTR {
    std::vector<float> out(n + 1, kUntouched), joined(n + 1, kUntouched);
    target::Activate<Activate16>(x.data(), n, out.data());
    target::ActivateMultiply<Activate16>(x.data(), up.data(), n, joined.data());
    double worst = 0;
    for (std::size_t i = 0; i < n; ++i) {
      const double value = expected(static_cast<double>(x[i]));
      const double scale = 1 + std::fabs(value);
      worst = std::max(worst, std::fabs(static_cast<double>(out[i]) - value) / scale);
      worst = std::max(worst, std::fabs(static_cast<double>(joined[i]) - value * static_cast<double>(up[i])) /
                                  (1 + scale * std::fabs(static_cast<double>(up[i]))));
    }
    BOOST_TEST(worst < bound);
    BOOST_TEST(out[n] == kUntouched);
    BOOST_TEST(joined[n] == kUntouched);
  };
  check(target::Silu16(), 3e-7, [](double v) { return v / (1 + std::exp(-v)); });
  check(target::Gelu16(), 6e-7, [](double v) {
    return 0.5 * v * (1 + std::tanh(std::sqrt(2 / std::acos(-1.0)) * (v + 0.044715 * v * v * v)));
  });
  check(target::GeluErf16(), 6e-7, [](double v) { return 0.5 * v * (1 + std::erf(v / std::sqrt(2.0))); });
  check(target::ReluSquared16(), 3e-7, [](double v) { return v < 0 ? 0 : v * v; });
  std::vector<float> out(n + 1, kUntouched);
  target::ClampedSiluMultiply(x.data(), up.data(), 1.702f, 1.5f, n, out.data());
  for (std::size_t i = 0; i < n; ++i) {
    const double g = std::min(static_cast<double>(x[i]), 1.5);
    const double u = std::clamp(static_cast<double>(up[i]), -1.5, 1.5);
    BOOST_TEST(std::fabs(static_cast<double>(out[i]) - g / (1 + std::exp(-1.702 * g)) * (u + 1)) < 3e-6);
  }
  BOOST_TEST(out[n] == kUntouched);
}

BOOST_AUTO_TEST_CASE(SoftCapScaleAndSums) {
  for (const std::size_t n : {1u, 16u, 37u}) {
    const auto x = Random(n, 6, 20.0f), before = Random(n, 7, 1.0f);
    std::vector<float> capped = x, scaled = x, sum = before;
    for (auto* out : {&capped, &scaled, &sum}) out->push_back(kUntouched);
    target::SoftCap(8.0f, n, capped.data());
    target::Scale(0.3f, n, scaled.data());
    target::AddScaled(x.data(), 0.3f, n, sum.data());
    double dot = 0, magnitude = 0;
    for (std::size_t i = 0; i < n; ++i) {
      const double value = static_cast<double>(x[i]), b = static_cast<double>(before[i]);
      BOOST_TEST(std::fabs(static_cast<double>(capped[i]) - 8 * std::tanh(value / 8)) < 2e-6);
      BOOST_TEST(scaled[i] == 0.3f * x[i]);
      BOOST_TEST(std::fabs(static_cast<double>(sum[i]) - (b + static_cast<double>(0.3f) * value)) < 2e-6);
      dot += value * b;
      magnitude += std::fabs(value * b);
    }
    BOOST_TEST(std::fabs(static_cast<double>(target::Dot(x.data(), before.data(), n)) - dot) <= 1e-6 * magnitude);
    for (const auto* out : {&capped, &scaled, &sum}) BOOST_TEST(out->back() == kUntouched);
  }
}

// YaRN keeps what turns often, divides what turns seldom, and grows queries and keys.
BOOST_AUTO_TEST_CASE(KeepLargestEqualsDouble) {
  for (std::size_t n = 2; n < 70; ++n) {
    std::vector<float> x = Random(n, static_cast<unsigned>(n), 3.0f);
    for (float& value : x) value += 100.0f;  // far from 0: the mean matters
    const std::vector<float> before = x;
    double mean = 0, squares = 0;
    for (const float value : x) mean += static_cast<double>(value) / static_cast<double>(n);
    for (const float value : x) squares += (static_cast<double>(value) - mean) * (static_cast<double>(value) - mean);
    const double cutoff = mean + 0.5 * std::sqrt(squares / static_cast<double>(n - 1));
    x.push_back(kUntouched);
    target::KeepLargest(0.5f, n, x.data());
    std::size_t kept = 0;
    for (std::size_t i = 0; i < n; ++i) {
      BOOST_TEST(std::fabs(static_cast<double>(x[i]) - std::max(0.0, static_cast<double>(before[i]) - cutoff)) < 5e-5);
      kept += x[i] > 0.0f ? 1 : 0;
    }
    BOOST_TEST(kept > 0u);
    BOOST_TEST(kept < n);
    BOOST_TEST(x[n] == kUntouched);
  }
}

BOOST_AUTO_TEST_CASE(YarnFrequencies) {
  constexpr std::size_t kDim = 64;
  const inlay::YarnRamp yarn{4096, 32.0, 1.0};
  std::vector<float> plain(kDim / 2), found(kDim / 2), divided(kDim / 2);
  inlay::RopeFrequencies(10000.0, 1.0, nullptr, kDim, {}, plain.data());
  inlay::RopeFrequencies(10000.0, 16.0, nullptr, kDim, {}, divided.data());
  inlay::RopeFrequencies(10000.0, 16.0, nullptr, kDim, yarn, found.data());
  // 4096 positions are 652 turns of the fastest pair: pairs below index 10 turn more than 32 times, pairs from 23 on less
  // than once.
  for (std::size_t i = 0; i < kDim / 2; ++i) {
    if (i <= 10) BOOST_TEST(found[i] == plain[i]);
    if (i >= 23) BOOST_TEST(found[i] == divided[i]);
    if (i > 10 && i < 23) {
      const double kept = 1.0 - (static_cast<double>(i) - 10) / 13;
      const double frequency = std::pow(10000.0, -2.0 * static_cast<double>(i) / kDim);
      BOOST_TEST(Relative(found[i], frequency * kept + frequency / 16 * (1 - kept)) < 1e-6);
    }
  }
  BOOST_TEST(std::fabs(inlay::YarnMagnitude(16.0, 0.0) - (0.1 * std::log(16.0) + 1)) < 1e-12);
  BOOST_TEST(std::fabs(inlay::YarnMagnitude(16.0, 1.0) - 1.0) < 1e-12);
  BOOST_TEST(inlay::YarnMagnitude(1.0, 0.5) == 1.0);
  std::vector<float> table(4);
  const float frequency[2] = {0.5f, 0.25f};
  inlay::RopeTable(frequency, 2, 3, 1.25, table.data());
  BOOST_TEST(Relative(table[0], 1.25 * std::cos(1.5)) < 1e-7);
  BOOST_TEST(Relative(table[3], 1.25 * std::sin(0.75)) < 1e-7);
}

BOOST_AUTO_TEST_SUITE_END()
