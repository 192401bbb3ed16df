#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string_view>

#include "inlay/config/known_models.hpp"
#include "inlay/weights/config_keys.hpp"
#include "inlay/weights/tensor_roles.hpp"

namespace {

// The parameters of a model: all values of its tensors but the factors of rotary frequencies, which are not trained.
constexpr std::uint64_t Parameters(const inlay::ModelConfig& config) {
  std::uint64_t count = 0;
  for (std::size_t i = 0; i < inlay::TensorCount(config); ++i) {
    const inlay::TensorId id = inlay::TensorAt(i);
    if (!inlay::HasRole(config, id) || id.role == inlay::TensorRole::kRopeFactors) continue;
    const inlay::TensorShape shape = inlay::ShapeOf(config, id);
    count += std::uint64_t{shape.rows} * shape.cols * shape.count;
  }
  return count;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(config_known_models)

// The numbers that the publishers give for their models, where they give them exactly (of the stories, Qwen3-Next, Qwen 3.5 and
// Granite 4 H Micro: counted by hand from the layers' equations): a wrong dimension anywhere changes them.
BOOST_AUTO_TEST_CASE(PublishedParameterCounts) {
  const std::map<std::string_view, std::uint64_t> published = {
      {"inlay-tiny", 1312384},
      {"stories260K", 260032},        {"stories15M", 15191712},      {"stories42M", 41689600},
      {"stories110M", 109529856},     {"tinyllama-1.1b", 1100048384}, {"llama-2-7b", 6738415616},
      {"llama-2-13b", 13015864320},   {"llama-2-70b", 68976648192},  {"llama-3-8b", 8030261248},
      {"llama-3-70b", 70553706496},   {"llama-3.1-8b", 8030261248},  {"llama-3.1-70b", 70553706496},
      {"llama-3.2-1b", 1235814400},   {"llama-3.2-3b", 3212749824},  {"mistral-7b", 7241732096},
      {"smollm2-135m", 134515008},    {"smollm2-360m", 361821120},   {"smollm2-1.7b", 1711376384},
      {"lfm2-1.2b", 1170340608},      {"deepseek-v2-lite", 15706484224}, {"deepseek-v3", 671026419200},
      {"qwen3-next-80b-a3b", 79674391296}, {"qwen3.5-9b", 8953803264},
      {"granite-4.0-h-micro", 3191396096}, {"granite-4.0-h-tiny", 6939037248},
  };
  for (const inlay::KnownModel& model : inlay::kKnownModels) {
    const auto found = published.find(model.name);
    BOOST_REQUIRE_MESSAGE(found != published.end(), model.name << " has no published count here");
    BOOST_TEST(Parameters(*model.config) == found->second, model.name << " has " << Parameters(*model.config));
  }
  BOOST_TEST(published.size() == inlay::kKnownModels.size());
}

BOOST_AUTO_TEST_CASE(EveryOneIsValidAndFound) {
  std::set<std::string_view> identifiers;
  for (const inlay::KnownModel& model : inlay::kKnownModels) {
    BOOST_TEST(inlay::Validate(*model.config).has_value(), model.name << " breaks a rule");
    BOOST_TEST(inlay::FindKnownModel(model.name) == &model);
    BOOST_TEST(identifiers.insert(model.identifier).second);
    if (model.config->architecture == inlay::Architecture::kLlama) {
      BOOST_TEST(model.config->rope_dim == model.config->head_dim);
    }
    // A file's layers are read as the shortest pattern.
    const inlay::LayerPattern& states = model.config->state.layers;
    if (states.period == 0) continue;
    const auto read = inlay::detail::PatternOf(model.config->layers, [&](std::size_t l) { return states.Has(l); });
    BOOST_TEST((read == states), model.name);
  }
  BOOST_TEST(inlay::FindKnownModel("no such model") == nullptr);
  BOOST_TEST(inlay::FindKnownModel("") == nullptr);
}

BOOST_AUTO_TEST_SUITE_END()
