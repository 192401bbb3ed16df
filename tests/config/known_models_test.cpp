#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <cstdint>
#include <map>
#include <set>
#include <string_view>

#include "inlay/config/known_models.hpp"

namespace {

// The parameters of a model of the llama family, counted from its dimensions alone.
constexpr std::uint64_t Parameters(const inlay::ModelConfig& config) {
  const std::uint64_t dim = config.dim;
  const std::uint64_t attention = 2 * dim * config.q_dim() + 2 * dim * config.k_dim();
  const std::uint64_t feed_forward = 3 * dim * config.ffn_dim;
  const std::uint64_t layer = attention + feed_forward + 2 * dim;
  const std::uint64_t table = dim * config.vocab;
  return config.layers * layer + dim + (config.tied_embeddings ? 1 : 2) * table;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(config_known_models)

// The numbers that the publishers give for their models (of the stories: counted by hand): a wrong dimension anywhere
// changes them.
BOOST_AUTO_TEST_CASE(PublishedParameterCounts) {
  const std::map<std::string_view, std::uint64_t> published = {
      {"inlay-tiny", 1312384},
      {"stories260K", 260032},        {"stories15M", 15191712},      {"stories42M", 41689600},
      {"stories110M", 109529856},     {"tinyllama-1.1b", 1100048384}, {"llama-2-7b", 6738415616},
      {"llama-2-13b", 13015864320},   {"llama-2-70b", 68976648192},  {"llama-3-8b", 8030261248},
      {"llama-3-70b", 70553706496},   {"llama-3.1-8b", 8030261248},  {"llama-3.1-70b", 70553706496},
      {"llama-3.2-1b", 1235814400},   {"llama-3.2-3b", 3212749824},  {"mistral-7b", 7241732096},
      {"smollm2-135m", 134515008},    {"smollm2-360m", 361821120},   {"smollm2-1.7b", 1711376384},
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
    BOOST_TEST(model.config->rope_dim == model.config->head_dim);
  }
  BOOST_TEST(inlay::FindKnownModel("no such model") == nullptr);
  BOOST_TEST(inlay::FindKnownModel("") == nullptr);
}

BOOST_AUTO_TEST_SUITE_END()
