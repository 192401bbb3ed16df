// Logits of random models against the model's definition in double precision (tests/support/reference_model.hpp).
#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "inlay/core/thread_pool.hpp"
#include "tests/support/random_model.hpp"
#include "tests/support/reference_model.hpp"
#include "tests/support/rounding.hpp"
#include "tests/support/test_model.hpp"

namespace {

using namespace inlay_test;
using inlay::KvType;
using inlay::ModelConfig;
using inlay::WeightType;

struct Difference {
  double max = 0.0;
  double rms = 0.0;
};

// Of `found` from `expected`, in units of the standard deviation of the expected logits.
Difference Compare(const std::vector<float>& found, const std::vector<ReferenceModel::Vector>& expected) {
  Difference difference;
  double squares = 0.0, sum = 0.0, variance = 0.0;
  std::size_t at = 0;
  for (const auto& row : expected) {
    for (const double value : row) {
      const double error = std::abs(static_cast<double>(found.at(at++)) - value);
      difference.max = std::max(difference.max, error);
      squares += error * error;
      sum += value;
      variance += value * value;
    }
  }
  BOOST_TEST(at == found.size());
  const double n = static_cast<double>(at);
  const double deviation = std::sqrt(variance / n - (sum / n) * (sum / n));
  BOOST_TEST(deviation > 0.5);
  difference.max /= deviation;
  difference.rms = std::sqrt(squares / n) / deviation;
  return difference;
}

void ExpectWithin(const std::string& what, const Difference& difference, double max, double rms) {
  BOOST_TEST_MESSAGE(what << ": max " << difference.max << ", rms " << difference.rms << " of the logits' deviation");
  BOOST_TEST_CONTEXT(what) {
    BOOST_TEST(difference.max <= max);
    BOOST_TEST(difference.rms <= rms);
  }
}

constexpr ModelConfig kPlain{.dim = 48, .layers = 3, .heads = 6, .kv_heads = 2, .head_dim = 8, .ffn_dim = 80,
                             .vocab = 96, .context = 256, .rope_dim = 8};

ModelConfig With(ModelConfig config, auto change) {
  change(config);
  return config;
}

struct Case {
  const char* name;
  ModelConfig config;
};

std::vector<Case> FloatCases() {
  return {
      {"plain", kPlain},
      {"one kv head", With(kPlain, [](auto& c) { c.kv_heads = 1; })},
      {"no grouping", With(kPlain, [](auto& c) { c.kv_heads = 6; })},
      {"tied", With(kPlain, [](auto& c) { c.tied_embeddings = true; })},
      {"rope over part of a head", With(kPlain, [](auto& c) { c.rope_dim = 4; })},
      {"no rope", With(kPlain, [](auto& c) { c.rope_dim = 0; })},
      {"rope base", With(kPlain, [](auto& c) { c.rope_base = 500000.0f; })},
      {"rope factors", With(kPlain, [](auto& c) { c.rope_scaling = inlay::RopeScaling::kFactors; })},
      {"rope linear", With(kPlain, [](auto& c) { c.rope_scaling = inlay::RopeScaling::kLinear; c.rope_scale = 4.0f; })},
      {"epsilon", With(kPlain, [](auto& c) { c.norm_epsilon = 0.5f; })},
      {"window", With(kPlain, [](auto& c) { c.window = 7; })},
      {"window of one", With(kPlain, [](auto& c) { c.window = 1; })},
      {"heads wider than the stream", With(kPlain, [](auto& c) { c.head_dim = 24; c.rope_dim = 24; })},
      {"experts", With(kPlain, [](auto& c) { c.experts = 5; c.experts_per_token = 2; })},
      {"all experts", With(kPlain, [](auto& c) { c.experts = 3; c.experts_per_token = 3; })},
      {"one expert of many", With(kPlain, [](auto& c) { c.experts = 17; c.experts_per_token = 1; })},
      {"narrow", kNarrowConfig},
      {"odd", kOddConfig},
      {"super blocks", kSuperBlockConfig},
      {"experts and window", kExpertConfig},
      {"smallest", ModelConfig{.dim = 1, .layers = 1, .heads = 1, .kv_heads = 1, .head_dim = 2, .ffn_dim = 1, .vocab = 5,
                               .context = 64, .rope_dim = 2}},
  };
}

BOOST_AUTO_TEST_SUITE(model_oracle)

// Floats all the way: what is left is rounding, some 1e-6 of the logits, times the depth of the network.
BOOST_AUTO_TEST_CASE(float_weights) {
  inlay::SerialExecutor serial;
  std::uint64_t seed = 100;
  for (const Case& test : FloatCases()) {
    const FileContents file = RandomModel({.config = test.config, .seed = ++seed});
    const OpenedModel model = OpenModel(file);
    BOOST_TEST((model->config() == test.config), test.name);
    const auto tokens = RandomTokens(40, test.config.vocab, seed);
    const auto expected = ReferenceModel(test.config, file).Logits(tokens);
    ExpectWithin(test.name, Compare(AllLogits(*model, tokens, KvType::kF32, serial), expected), 3e-5, 3e-6);
  }
}

// A context of several spans and a window that starts in the middle of one.
BOOST_AUTO_TEST_CASE(long_context) {
  inlay::ThreadPool pool(2);
  for (const std::uint32_t window : {0u, 300u}) {
    const ModelConfig config = With(kPlain, [&](auto& c) { c.window = window; c.context = 1024; });
    const FileContents file = RandomModel({.config = config, .seed = 7 + window});
    const OpenedModel model = OpenModel(file);
    const auto tokens = RandomTokens(600, config.vocab, 9);
    const auto expected = ReferenceModel(config, file).Logits(tokens);
    ExpectWithin("window " + std::to_string(window),
                 Compare(AllLogits(*model, tokens, KvType::kF32, pool, 128), expected), 3e-5, 3e-6);
  }
}

// 16-bit floats are exact in the products; nothing else is rounded, but where they are multiplied in pairs: BF16 with activations
// of 8 significant bits, F16 as integers of 16 bits.
BOOST_AUTO_TEST_CASE(half_weights) {
  inlay::SerialExecutor serial;
  for (const WeightType type : {WeightType::kF16, WeightType::kBF16}) {
    const FileContents file = RandomModel({.config = kPlain, .type = AllOf(type), .seed = 3});
    const auto tokens = RandomTokens(40, kPlain.vocab, 4);
    const auto expected = ReferenceModel(kPlain, file).Logits(tokens);
    const bool integers = type == WeightType::kF16 && kRoundsF16;
    const bool rounded = type == WeightType::kBF16 && kRoundsBF16;
    ExpectWithin(std::string(inlay::Name(type)),
                 Compare(AllLogits(*OpenModel(file), tokens, KvType::kF32, serial), expected),
                 rounded ? 0.08 : integers ? 0.005 : 3e-5, rounded ? 0.008 : integers ? 0.0005 : 3e-6);
  }
}

std::vector<WeightType> QuantisedTypes() {
  std::vector<WeightType> types;
  for (const WeightType type : inlay::AllFormats::kList) {
    if (inlay::Info(type).block_values > 1) types.push_back(type);
  }
  return types;
}

struct QuantisedCase {
  std::string name;
  ModelConfig config;
  std::function<WeightType(std::string_view)> type;
};

std::vector<QuantisedCase> QuantisedCases() {
  const ModelConfig config = With(kSuperBlockConfig, [](auto& c) { c.tied_embeddings = false; });
  const ModelConfig experts = With(config, [](auto& c) { c.experts = 4; c.experts_per_token = 2; });
  std::vector<QuantisedCase> cases;
  for (const WeightType type : QuantisedTypes()) cases.push_back({std::string(inlay::Name(type)), config, AllOf(type)});
  cases.push_back({"mix", config, MixOf({WeightType::kQ4_K, WeightType::kQ6_K, WeightType::kF32, WeightType::kQ8_0,
                                         WeightType::kQ5_0})});
  cases.push_back({"experts", experts, AllOf(WeightType::kQ8_0)});
  return cases;
}

// Quantised weights multiply with activations of 8 bits, which is some 0.5 % of each value; after a few layers a few
// percent of the logits' spread.
BOOST_AUTO_TEST_CASE(quantised_weights) {
  inlay::SerialExecutor serial;
  for (const QuantisedCase& test : QuantisedCases()) {
    const FileContents file = RandomModel({.config = test.config, .type = test.type, .seed = 11});
    const auto tokens = RandomTokens(24, test.config.vocab, 12);
    const auto found = AllLogits(*OpenModel(file), tokens, KvType::kF32, serial);
    ExpectWithin(test.name, Compare(found, ReferenceModel(test.config, file).Logits(tokens)), 0.2, 0.04);
  }
}

// With a reference that rounds activations in the same way, only floats are left to differ, unless a value lies on the
// edge between two levels and falls to the other side: that is rare, but changes all that follows. So of several short
// sequences most must agree to float precision.
BOOST_AUTO_TEST_CASE(quantised_activations) {
  inlay::SerialExecutor serial;
  std::vector<QuantisedCase> cases = QuantisedCases();
  if (kRoundsBF16) cases.push_back({"BF16", cases.front().config, AllOf(WeightType::kBF16)});
  for (const QuantisedCase& test : cases) {
    const FileContents file = RandomModel({.config = test.config, .type = test.type, .seed = 13});
    const OpenedModel model = OpenModel(file);
    ReferenceModel reference(test.config, file);
    reference.QuantizeActivations(true);
    std::vector<Difference> differences;
    for (std::uint64_t seed = 0; seed < 9; ++seed) {
      const auto tokens = RandomTokens(2, test.config.vocab, seed);
      differences.push_back(Compare(AllLogits(*model, tokens, KvType::kF32, serial), reference.Logits(tokens)));
    }
    std::sort(differences.begin(), differences.end(), [](const auto& a, const auto& b) { return a.max < b.max; });
    ExpectWithin(test.name, differences[4], 1e-5, 1e-6);
  }
}

BOOST_AUTO_TEST_CASE(cache_types) {
  inlay::SerialExecutor serial;
  const FileContents file = RandomModel({.config = kPlain, .seed = 5});
  const OpenedModel model = OpenModel(file);
  const auto tokens = RandomTokens(100, kPlain.vocab, 6);
  const auto expected = ReferenceModel(kPlain, file).Logits(tokens);
  // Keys and values have 11, 8 and 8 significant bits (of the largest of a head).
  ExpectWithin("f16", Compare(AllLogits(*model, tokens, KvType::kF16, serial), expected), 0.01, 0.001);
  ExpectWithin("bf16", Compare(AllLogits(*model, tokens, KvType::kBF16, serial), expected), 0.08, 0.008);
  ExpectWithin("q8", Compare(AllLogits(*model, tokens, KvType::kQ8, serial), expected), 0.12, 0.02);
  // A step is 127 / 8 of that of 8 bits.
  ExpectWithin("q4", Compare(AllLogits(*model, tokens, KvType::kQ4, serial), expected), 0.12 * 127 / 8, 0.02 * 127 / 8);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
