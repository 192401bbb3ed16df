// Every family with every type of cache: what a type rounds is seen in the results, and no more than that; the same bits in one
// pass and in pieces, on one thread and on several.
#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "inlay/core/thread_pool.hpp"
#include "tests/support/family_models.hpp"
#include "tests/support/hybrid_models.hpp"
#include "tests/support/random_model.hpp"
#include "tests/support/test_model.hpp"

namespace {

using namespace inlay_test;
using inlay::KvType;

constexpr std::size_t kTokens = 100;

// Logits of all tokens, or hidden states where a model has none.
std::vector<float> Results(const TestModel& model, const std::vector<inlay::TokenId>& tokens, KvType kv, std::size_t batch,
                           inlay::ExecutorRef executor) {
  if (model.config().logits) return AllLogits(model, tokens, kv, executor, batch);
  const inlay::SessionOptions options{.context = tokens.size(), .batch = tokens.size(), .kv = kv};
  AlignedBytes memory(Value(model.PlanFor(options)).session());
  inlay::Arena arena = Value(inlay::Arena::Create(memory));
  inlay::SequenceCache cache = Value(model.NewCache(options, arena));
  inlay::Workspace workspace = Value(model.NewWorkspace(options, arena));
  const inlay::SequenceInput input{&cache, tokens, inlay::Outputs::kAll};
  const inlay::HiddenView hidden = Value(model.Embed({&input, 1}, workspace, executor));
  std::vector<float> out;
  for (std::size_t row = 0; row < hidden.rows; ++row) out.insert(out.end(), hidden.row(row).begin(), hidden.row(row).end());
  return out;
}

// The difference of a token's numbers, root mean square, in units of what is expected: the median of all tokens. Where rounding
// tips the choice of an expert, that token and those that see it differ by more than rounding: of models with experts, the lowest
// tenth.
double UsualDifference(const std::vector<float>& found, const std::vector<float>& expected, std::size_t tokens, bool experts) {
  BOOST_TEST(found.size() == expected.size());
  const std::size_t width = expected.size() / tokens;
  std::vector<double> differences;
  for (std::size_t t = 0; t < tokens; ++t) {
    double errors = 0.0, squares = 0.0;
    for (std::size_t i = t * width; i < (t + 1) * width; ++i) {
      const double value = static_cast<double>(expected[i]), error = static_cast<double>(found[i]) - value;
      errors += error * error;
      squares += value * value;
    }
    differences.push_back(std::sqrt(errors / squares));
  }
  std::sort(differences.begin(), differences.end());
  return differences[experts ? tokens / 10 : tokens / 2];
}

BOOST_AUTO_TEST_SUITE(model_cache_types)

BOOST_AUTO_TEST_CASE(every_family) {
  std::vector<std::pair<std::string, FileContents>> models;
  for (const FamilyModel& family : FamilyModels()) {
    models.emplace_back(inlay::Name(family.config->architecture), RandomModel({.config = *family.config, .seed = 41}));
  }
  for (HybridCase& hybrid : HybridCases(41)) models.emplace_back(hybrid.name, std::move(hybrid.file));
  models.emplace_back("deepseek without experts", DeepSeekModel({.seed = 41}, {}));
  struct Bound {
    KvType kv;
    double largest;
  };
  // Keys and values have 11 or 8 significant bits, or 127 or 8 steps to the largest of a head.
  constexpr Bound kBounds[] = {{KvType::kF16, 0.001}, {KvType::kBF16, 0.008}, {KvType::kQ8, 0.024}, {KvType::kQ4, 0.024 * 127 / 8}};
  inlay::SerialExecutor serial;
  inlay::ThreadPool pool(2);
  for (const auto& [name, file] : models) {
    const OpenedModel model = OpenModel(file);
    const inlay::ModelConfig& config = model->config();
    std::size_t tokens_of_one = kTokens;
    if (config.learned_positions) tokens_of_one = std::min<std::size_t>(kTokens, config.context);
    const auto tokens = RandomTokens(tokens_of_one, config.vocab, 42);
    const std::vector<float> expected = Results(*model, tokens, KvType::kF32, tokens.size(), serial);
    bool attends = false;
    for (std::uint32_t l = 0; l < config.layers; ++l) attends |= !config.KeepsState(l);
    for (const auto& [kv, largest] : kBounds) {
      const std::vector<float> found = Results(*model, tokens, kv, tokens.size(), serial);
      const double difference = UsualDifference(found, expected, tokens.size(), config.experts != 0);
      BOOST_TEST_MESSAGE(name << ", " << inlay::Name(kv) << ": " << difference);
      BOOST_TEST_CONTEXT(name << ", " << inlay::Name(kv)) {
        BOOST_TEST(difference <= largest);
        BOOST_TEST((difference > largest * 1e-3) == attends);
        BOOST_TEST((Results(*model, tokens, kv, 7, pool) == found));
      }
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
