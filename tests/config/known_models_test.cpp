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
// Granite 4 H Micro: counted by hand from the layers' equations; of Gemma 3n and 4, what is left of the published files' counts
// without keys and values that nobody reads; of BERT and its kin, without the pooler; of nomic-embed v2, without the experts'
// biases, which files leave out): a wrong dimension anywhere changes them.
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
      {"mixtral-8x7b", 46702792704}, {"mistral-small-24b", 23572403200}, {"qwen2.5-0.5b", 494032768},
      {"qwen2.5-1.5b", 1543714304}, {"qwen2.5-3b", 3085938688}, {"qwen2.5-7b", 7615616512},
      {"qwen2.5-14b", 14770033664}, {"qwen2.5-32b", 32763876352}, {"qwen2.5-72b", 72706203648},
      {"qwen3-0.6b", 596049920}, {"qwen3-1.7b", 1720574976}, {"qwen3-4b", 4022468096},
      {"qwen3-8b", 8190735360}, {"qwen3-14b", 14768307200}, {"qwen3-32b", 32762123264},
      {"qwen3-30b-a3b", 30532122624}, {"qwen3-235b-a22b", 235093634560}, {"gemma-2b", 2506172416},
      {"gemma-7b", 8537680896}, {"gemma-2-2b", 2614341888}, {"gemma-2-9b", 9241705984},
      {"gemma-2-27b", 27227128320}, {"gemma-3-270m", 268098176}, {"gemma-3-1b", 999885952},
      {"gemma-3-4b", 3880099328}, {"gemma-3-12b", 11765788416}, {"gemma-3-27b", 27009002240},
      {"phi-3-mini-4k", 3821079552}, {"phi-4", 14659507200}, {"gpt-oss-20b", 20914757184},
      {"gpt-oss-120b", 116829156672}, {"smollm3-3b", 3075098624}, {"olmo-2-1b", 1484916736},
      {"olmo-2-7b", 7298617344}, {"olmo-2-13b", 13716198400}, {"granite-3.3-2b", 2533539840},
      {"granite-3.3-8b", 8170864640}, {"gpt2", 124439808}, {"gpt2-medium", 354823168},
      {"gpt2-large", 774030080}, {"gpt2-xl", 1557611200}, {"pythia-160m", 162322944},
      {"pythia-1b", 1011781632}, {"gpt-neox-20b", 20554567680}, {"all-minilm-l6-v2", 22565376},
      {"bge-small-en-v1.5", 33212160}, {"bge-base-en-v1.5", 108891648}, {"nomic-embed-text-v1.5", 136731648},
      {"nomic-embed-text-v2-moe", 475288320}, {"modernbert-base", 149014272}, {"embeddinggemma-300m", 307581696},
      {"mamba2-130m", 128989632}, {"mamba2-2.7b", 2702599680}, {"llama-4-scout", 107769861120},
      {"gemma-3n-e2b", 4437148768}, {"gemma-3n-e4b", 6837529328}, {"gemma-4-e2b", 4628569379},
      {"gemma-4-e4b", 7463013418},
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
