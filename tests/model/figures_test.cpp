// Stored figures of seeded random models, one per family and form. They were made once, and agree with the tests' evaluation in
// double; the reference files of golden_test.cpp stand behind the same definitions where they are there. A change of a definition
// that the library and that evaluation make together is found here.
#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "inlay/model/embedding.hpp"
#include "tests/model/figures.hpp"
#include "tests/support/family_models.hpp"
#include "tests/support/hybrid_models.hpp"
#include "tests/support/random_model.hpp"
#include "tests/support/test_model.hpp"

namespace {

using namespace inlay_test;
using inlay::HeadConfig;
using inlay::ModelConfig;
using inlay::Pooling;

constexpr std::size_t kTokens = 32;
constexpr std::uint64_t kSeed = 2026;

struct Seeded {
  std::string name;
  FileContents file;
};

std::vector<Seeded> Models() {
  std::vector<Seeded> models;
  const auto add = [&](std::string name, const ModelConfig& config) {
    models.push_back({std::move(name), RandomModel({.config = config, .seed = kSeed})});
  };
  // Two of gemma4: with inputs of each layer's own, and with experts.
  for (const FamilyModel& family : FamilyModels()) {
    std::string name(inlay::Name(family.config->architecture));
    if (family.config->experts != 0 && family.config->expert.beside_dense) name += ", experts";
    add(std::move(name), *family.config);
  }
  const auto with_head = [&](std::string name, ModelConfig config, const HeadConfig& head) {
    config.head = head;
    add(std::move(name), config);
  };
  with_head("bert, scores", family::kBertSmall, {.labels = 1, .label_bias = true, .dense = true, .dense_bias = true});
  with_head("modern-bert, scores", family::kModern,
            {.labels = 1, .label_bias = true, .dense = true, .gelu = true, .norm = true, .pooling = Pooling::kMean});
  with_head("qwen3, scores", family::kQwen3Dense, {.labels = 2, .softmax = true, .pooling = Pooling::kLast});
  with_head("gemma-embedding, projected", family::kGemmaEncoder, {.first_dim = 96, .last_dim = 40});
  for (HybridCase& hybrid : HybridCases(kSeed)) models.push_back({hybrid.name, std::move(hybrid.file)});
  return models;
}

// The numbers that a model is asked for: scores, the embedding, or the last token's logits.
std::vector<float> Results(const TestModel& model) {
  const ModelConfig& config = model.config();
  const std::vector<inlay::TokenId> tokens = RandomTokens(kTokens, config.vocab, kSeed);
  inlay::SerialExecutor serial;
  if (!config.HasScores() && config.logits) {
    const std::vector<float> all = AllLogits(model, tokens, inlay::KvType::kF32, serial);
    return {all.end() - static_cast<std::ptrdiff_t>(config.vocab), all.end()};
  }
  const inlay::SessionOptions options{.context = kTokens, .batch = kTokens, .kv = inlay::KvType::kF32};
  AlignedBytes memory(Value(model.PlanFor(options)).session());
  inlay::Arena arena = Value(inlay::Arena::Create(memory));
  inlay::SequenceCache cache = Value(model.NewCache(options, arena));
  inlay::Workspace workspace = Value(model.NewWorkspace(options, arena));
  std::vector<float> out(config.HasScores() ? config.score_count() : config.embedding_dim());
  Value(config.HasScores() ? inlay::ScoreSequence(model, cache, workspace, tokens, out, serial)
                           : inlay::EmbedSequence(model, cache, workspace, tokens, Pooling::kMean, out, serial));
  return out;
}

// Three numbers of a result, and its root mean square.
std::array<double, 4> FiguresOf(std::span<const float> results) {
  double squares = 0.0;
  for (const float value : results) squares += static_cast<double>(value) * static_cast<double>(value);
  const auto at = [&](std::size_t i) { return static_cast<double>(results[i % results.size()]); };
  return {at(0), at(7), at(results.size() - 1), std::sqrt(squares / static_cast<double>(results.size()))};
}

BOOST_AUTO_TEST_SUITE(model_figures)

BOOST_AUTO_TEST_CASE(every_family) {
  // Prints the table of figures.hpp, for a model that is new in it.
  const bool print = std::getenv("INLAY_PRINT_FIGURES") != nullptr;
  const std::vector<Seeded> models = Models();
  if (!print) BOOST_TEST(models.size() == std::size(kFigures));
  for (std::size_t i = 0; i < models.size(); ++i) {
    const OpenedModel model = OpenModel(models[i].file);
    const std::array<double, 4> found = FiguresOf(Results(*model));
    if (print) {
      std::printf("    {\"%s\", {%.6g, %.6g, %.6g, %.6g}},\n", models[i].name.c_str(), found[0], found[1], found[2], found[3]);
      continue;
    }
    BOOST_REQUIRE(i < std::size(kFigures));
    BOOST_TEST_CONTEXT(models[i].name) {
      BOOST_TEST(kFigures[i].model == models[i].name);
      for (std::size_t k = 0; k < found.size(); ++k) BOOST_TEST(std::abs(found[k] - kFigures[i].values[k]) <= 3e-5 * (1.0 + kFigures[i].values[3]));
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
