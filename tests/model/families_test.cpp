// Every family: its file is read as what the family is, computes what the family's definition says, in the same bits
// whether its dimensions are known to the compiler or not, and however a text is cut into passes.
#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "inlay/config/families.hpp"
#include "inlay/core/thread_pool.hpp"
#include "inlay/model/embedding.hpp"
#include "inlay/weights/config_keys.hpp"
#include "tests/support/family_models.hpp"
#include "tests/support/random_model.hpp"
#include "tests/support/reference_model.hpp"
#include "tests/support/test_model.hpp"

namespace {

using namespace inlay_test;
using inlay::KvType;
using inlay::ModelConfig;
using inlay::Pooling;

constexpr std::size_t kTokens = 40;

FileContents FileOf(const ModelConfig& config, std::uint64_t seed = 5) {
  return RandomModel({.config = config, .seed = seed});
}

// Largest difference, in units of the standard deviation of what is expected.
double Difference(std::span<const float> found, const std::vector<ReferenceModel::Vector>& expected) {
  double largest = 0.0, sum = 0.0, squares = 0.0;
  std::size_t at = 0;
  for (const auto& row : expected) {
    for (const double value : row) {
      largest = std::max(largest, std::abs(static_cast<double>(found[at++]) - value));
      sum += value;
      squares += value * value;
    }
  }
  BOOST_TEST(at == found.size());
  const double n = static_cast<double>(at);
  const double deviation = std::sqrt(squares / n - (sum / n) * (sum / n));
  BOOST_TEST(deviation > 0.1);
  return largest / deviation;
}

// Memory of one sequence of at most kTokens tokens, read `batch` at a time.
struct Place {
  Place(const TestModel& model, std::size_t batch) {
    inlay::SessionOptions options{.context = kTokens, .batch = batch, .outputs = batch, .threads = 2, .kv = KvType::kF32};
    memory.resize(Value(model.PlanFor(options)).session());
    inlay::Arena arena = Value(inlay::Arena::Create(memory));
    cache = Value(model.NewCache(options, arena));
    workspace = Value(model.NewWorkspace(options, arena));
    BOOST_TEST(arena.used() == memory.size());
  }
  AlignedBytes memory;
  inlay::SequenceCache cache;
  inlay::Workspace workspace;
};

// Hidden states of all tokens, [tokens * dim].
std::vector<float> AllHidden(const TestModel& model, std::span<const inlay::TokenId> tokens, inlay::ExecutorRef executor,
                             std::size_t batch) {
  Place place(model, batch);
  std::vector<float> out;
  for (std::size_t at = 0; at < tokens.size(); at += batch) {
    const inlay::SequenceInput input{&place.cache, tokens.subspan(at, std::min(batch, tokens.size() - at)),
                                     inlay::Outputs::kAll};
    const inlay::HiddenView hidden = Value(model.Embed({&input, 1}, place.workspace, executor));
    for (std::size_t row = 0; row < hidden.rows; ++row) {
      out.insert(out.end(), hidden.row(row).begin(), hidden.row(row).end());
    }
  }
  return out;
}

// What a model computes: logits where it has any, else hidden states.
std::vector<float> Results(const TestModel& model, std::span<const inlay::TokenId> tokens, inlay::ExecutorRef executor,
                           std::size_t batch) {
  return model.config().logits ? AllLogits(model, tokens, KvType::kF32, executor, batch)
                               : AllHidden(model, tokens, executor, batch);
}

BOOST_AUTO_TEST_SUITE(model_families)

BOOST_AUTO_TEST_CASE(every_family_is_here) {
  using enum inlay::Architecture;
  // oracle_test.cpp, hybrid_test.cpp
  std::set<inlay::Architecture> tested = {kLlama,  kLfm2,      kLfm2Moe,       kDeepSeek2, kQwen3Next,
                                          kQwen35, kQwen35Moe, kGraniteHybrid, kMamba2};
  for (const FamilyModel& family : FamilyModels()) tested.insert(family.config->architecture);
  for (const inlay::Family& family : inlay::kFamilies) {
    BOOST_TEST(tested.contains(family.features.architecture), family.name());
  }
}

BOOST_AUTO_TEST_CASE(files_are_read_as_the_family) {
  for (const FamilyModel& family : FamilyModels()) {
    BOOST_TEST_CONTEXT(inlay::Name(family.config->architecture)) {
      const auto file = Value(OpenedFile::Open(WriteGguf(FileOf(*family.config))));
      const auto same = inlay::RequireSameModel(*family.config, file->config());
      if (!same) BOOST_ERROR(same.error().Message().c_str());
      BOOST_TEST((file->config() == *family.config));
      // And so is the packed file made of it.
      const auto packed = Value(OpenedFile::Open(file->WritePacked()));
      BOOST_TEST((packed->config() == *family.config));
      BOOST_TEST(std::equal(file->packed().begin(), file->packed().end(), packed->packed().begin(), packed->packed().end()));
    }
  }
}

// The keys that the library writes for a configuration are read as that configuration.
BOOST_AUTO_TEST_CASE(keys_round_trip) {
  for (const FamilyModel& family : FamilyModels()) {
    BOOST_TEST_CONTEXT(inlay::Name(family.config->architecture)) {
      FileContents contents = FileOf(*family.config);
      contents.metadata.clear();
      Value(inlay::ForConfigMetadata(*family.config, [&](std::string_view key, auto value) -> inlay::Result<void> {
        SetAsWritten(contents, key, value);
        return {};
      }));
      BOOST_TEST(contents.metadata.size() + 1 == inlay::ConfigMetadataCount(*family.config));
      const auto file = Value(OpenedFile::Open(WriteGguf(contents)));
      const auto same = inlay::RequireSameModel(*family.config, file->config());
      if (!same) BOOST_ERROR(same.error().Message().c_str());
      BOOST_TEST((file->config() == *family.config));
    }
  }
}

// A tensor too few or too many is an error that names it, whatever the family.
BOOST_AUTO_TEST_CASE(missing_and_extra_tensors) {
  for (const FamilyModel& family : FamilyModels()) {
    const FileContents whole = FileOf(*family.config);
    for (const FileTensor& tensor : whole.tensors) {
      const std::string& name = tensor.name;
      // Where these are missing, the file is one of another model: without its own output matrix, biases, or segments.
      const bool optional = name == "output.weight" || name == "token_types.weight" || name.starts_with("rope_f") ||
                            name == "blk.0.attn_norm.weight" ||
                            (name.ends_with("attn_v.weight") && family.config->attention.value_norm) || (name.starts_with("blk.0.") && name.ends_with(".bias"));
      if (optional || name.starts_with("blk.1.") == false) continue;
      FileContents less = whole;
      less.Erase(name);
      const auto opened = OpenedFile::Open(WriteGguf(less));
      BOOST_TEST_CONTEXT(inlay::Name(family.config->architecture) << " without " << name) {
        BOOST_REQUIRE(!opened);
        BOOST_TEST((opened.error().code == inlay::ErrorCode::kMissing));
      }
    }
    FileContents more = whole;
    more.tensors.push_back(more.tensors.front());
    more.tensors.back().name = "blk.1.wings.weight";
    const auto opened = OpenedFile::Open(WriteGguf(more));
    BOOST_REQUIRE(!opened);
    BOOST_TEST(opened.error().field.view() == "tensor blk.1.wings.weight");
  }
}

BOOST_AUTO_TEST_CASE(results_follow_the_definition) {
  inlay::SerialExecutor serial;
  for (const FamilyModel& family : FamilyModels()) {
    const ModelConfig& config = *family.config;
    const FileContents file = FileOf(config);
    const OpenedModel model = OpenModel(file);
    const auto tokens = RandomTokens(kTokens, config.vocab, 6);
    ReferenceModel reference(config, file);
    reference.SetContext(kTokens);
    const double hidden = Difference(AllHidden(*model, tokens, serial, kTokens), reference.Hidden(tokens));
    double logits = 0.0;
    if (config.logits) logits = Difference(AllLogits(*model, tokens, KvType::kF32, serial), reference.Logits(tokens));
    BOOST_TEST_MESSAGE(inlay::Name(config.architecture) << ": hidden " << hidden << ", logits " << logits);
    BOOST_TEST_CONTEXT(inlay::Name(config.architecture)) {
      BOOST_TEST(hidden < 3e-5);
      BOOST_TEST(logits < 3e-5);
    }
  }
}

// Features that no family's small model has: each alone on top of a plain one, against the definition.
BOOST_AUTO_TEST_CASE(single_features) {
  constexpr ModelConfig kPlain{.dim = 48, .layers = 3, .heads = 4, .kv_heads = 2, .head_dim = 12, .ffn_dim = 80, .vocab = 64,
                               .context = 128, .rope_dim = 12, .experts = 0};
  const auto with = [&](auto change) {
    ModelConfig config = kPlain;
    change(config);
    return config;
  };
  const auto experts = [&](auto change) {
    ModelConfig config = kPlain;
    config.experts = 6;
    config.experts_per_token = 2;
    change(config.expert);
    return config;
  };
  const std::vector<ModelConfig> configs = {
      with([](auto& c) { c.value_dim = 20; }),
      with([](auto& c) { c.value_dim = 4; }),
      with([](auto& c) { c.attention.softcap = 1.5f; }),
      with([](auto& c) { c.attention.sinks = true; }),
      with([](auto& c) { c.attention.sinks = true; c.window = 5; }),
      with([](auto& c) { c.window = 7; c.attention.window_kind = inlay::WindowKind::kChunked; }),
      with([](auto& c) { c.activation = inlay::Activation::kGeluErf; }),
      with([](auto& c) { c.activation = inlay::Activation::kReluSquared; c.gated = false; }),
      with([](auto& c) { c.activation = inlay::Activation::kClampedSilu; }),
      with([](auto& c) { c.parallel_residual = true; }),
      with([](auto& c) { c.output_bias = true; }),
      experts([](auto& e) { e.router = inlay::Router::kSoftmaxOfAll; e.scale = 2.5f; }),
      experts([](auto& e) { e.router = inlay::Router::kSigmoid; e.normalized = true; e.selection_bias = true; }),
      experts([](auto& e) { e.leading_dense = 1; e.shared_ffn_dim = 24; e.shared_gate = true; }),
      experts([](auto& e) { e.step = 2; e.ffn_dim = 24; }),
  };
  inlay::SerialExecutor serial;
  std::size_t index = 0;
  for (const ModelConfig& config : configs) {
    const FileContents file = FileOf(config, 20 + index);
    auto opened = Value(OpenedFile::OpenAs(config, WriteGguf(file)));
    const auto model = Value(MakeAnyModel(opened->parts()));
    const auto tokens = RandomTokens(kTokens, config.vocab, 7);
    const auto expected = ReferenceModel(config, file).Logits(tokens);
    BOOST_TEST_CONTEXT("configuration " << index++) {
      BOOST_TEST(Difference(AllLogits(*model, tokens, KvType::kF32, serial), expected) < 3e-5);
    }
  }
}

BOOST_AUTO_TEST_CASE(static_models_give_the_same_bits) {
  inlay::SerialExecutor serial;
  for (const FamilyModel& family : FamilyModels()) {
    const OpenedModel any = OpenModel(FileOf(*family.config)), compiled = OpenModel(FileOf(*family.config), family.make);
    const auto tokens = RandomTokens(kTokens, family.config->vocab, 8);
    BOOST_TEST_CONTEXT(inlay::Name(family.config->architecture)) {
      BOOST_TEST((Results(*any, tokens, serial, kTokens) == Results(*compiled, tokens, serial, kTokens)));
    }
  }
}

BOOST_AUTO_TEST_CASE(threads_and_passes_change_no_bit) {
  inlay::SerialExecutor serial;
  inlay::ThreadPool pool(3);
  for (const FamilyModel& family : FamilyModels()) {
    const ModelConfig& config = *family.config;
    const OpenedModel model = OpenModel(FileOf(config));
    const auto tokens = RandomTokens(kTokens, config.vocab, 9);
    const auto expected = Results(*model, tokens, serial, kTokens);
    BOOST_TEST_CONTEXT(inlay::Name(config.architecture)) {
      BOOST_TEST((Results(*model, tokens, pool, kTokens) == expected));
      if (!config.attention.causal) continue;
      for (const std::size_t batch : {1u, 7u, 16u}) BOOST_TEST((Results(*model, tokens, pool, batch) == expected));
    }
  }
}

// The trained context of a longer session than the original one changes the rotation.
BOOST_AUTO_TEST_CASE(long_rope_follows_the_session) {
  inlay::SerialExecutor serial;
  const FileContents file = FileOf(family::kPhi);
  const OpenedModel model = OpenModel(file);
  for (const std::size_t context : {std::size_t{family::kPhi.rope.original_context}, kTokens}) {
    const auto tokens = RandomTokens(24, family::kPhi.vocab, 10);
    inlay::SessionOptions options{.context = context, .batch = 24, .outputs = 24, .kv = KvType::kF32};
    AlignedBytes memory(Value(model->PlanFor(options)).session());
    inlay::Arena arena = Value(inlay::Arena::Create(memory));
    inlay::SequenceCache cache = Value(model->NewCache(options, arena));
    inlay::Workspace workspace = Value(model->NewWorkspace(options, arena));
    const inlay::SequenceInput input{&cache, tokens, inlay::Outputs::kAll};
    const inlay::LogitsView logits = Value(model->Forward({&input, 1}, workspace, serial));
    ReferenceModel reference(family::kPhi, file);
    reference.SetContext(context);
    BOOST_TEST(Difference({logits.data, logits.rows * logits.vocab}, reference.Logits(tokens)) < 3e-5);
  }
}

// --- embeddings ---

BOOST_AUTO_TEST_CASE(pooled_embeddings) {
  inlay::SerialExecutor serial;
  for (const ModelConfig* config : {&family::kQwen3Dense, &family::kBertSmall}) {
    const FileContents file = FileOf(*config);
    const OpenedModel model = OpenModel(file);
    const auto tokens = RandomTokens(kTokens, config->vocab, 11);
    const auto hidden = ReferenceModel(*config, file).Hidden(tokens);
    ReferenceModel::Vector mean = ReferenceModel::Vector::Zero(config->dim);
    for (const auto& row : hidden) mean += row / static_cast<double>(kTokens);
    for (const std::size_t batch : {kTokens, std::size_t{7}}) {
      if (!config->attention.causal && batch < kTokens) continue;
      Place place(*model, batch);
      std::vector<float> out(config->dim);
      const auto embed = [&](Pooling pooling) {
        Value(inlay::EmbedSequence(*model, place.cache, place.workspace, tokens, pooling, out, serial));
        return std::span<const float>(out);
      };
      BOOST_TEST(Difference(embed(Pooling::kMean), {mean}) < 3e-5);
      BOOST_TEST(Difference(embed(Pooling::kCls), {hidden.front()}) < 3e-5);
      BOOST_TEST(Difference(embed(Pooling::kLast), {hidden.back()}) < 3e-5);
      BOOST_TEST(Difference(embed(Pooling::kNone), {mean}) < 3e-5);
      BOOST_TEST(place.cache.length() == kTokens);
    }
  }
}

// Heads of classifiers and rerankers, and the projections of embeddings, each in another family.
BOOST_AUTO_TEST_CASE(heads) {
  inlay::SerialExecutor serial;
  struct Case {
    ModelConfig config;
    Pooling pooling;
  };
  const auto with = [](ModelConfig config, inlay::HeadConfig head, Pooling pooling) {
    config.head = head;
    return Case{config, pooling};
  };
  const std::vector<Case> cases = {
      with(family::kBertSmall, {.labels = 3, .label_bias = true, .dense = true, .dense_bias = true}, Pooling::kCls),
      with(family::kBertSmall, {.labels = 1}, Pooling::kCls),
      with(family::kBertSmall, {.dense = true}, Pooling::kCls),
      with(family::kModern, {.labels = 1, .label_bias = true, .dense = true, .gelu = true, .norm = true, .pooling = Pooling::kMean},
           Pooling::kMean),
      with(family::kQwen3Dense, {.labels = 2, .softmax = true, .pooling = Pooling::kLast}, Pooling::kLast),
      with(family::kGemmaEncoder, {.first_dim = 96, .last_dim = 40}, Pooling::kMean),
      with(family::kGemmaEncoder, {.first_dim = 20}, Pooling::kMean),
      with(family::kGemmaEncoder, {.last_dim = 20}, Pooling::kCls),
  };
  std::uint64_t seed = 30;
  for (const Case& test : cases) {
    const FileContents file = FileOf(test.config, ++seed);
    const OpenedModel model = OpenModel(file);
    BOOST_TEST_CONTEXT(seed) {
      BOOST_TEST((model->config() == test.config));
      const auto tokens = RandomTokens(kTokens, test.config.vocab, 14);
      const ReferenceModel reference(test.config, file);
      const auto hidden = reference.Hidden(tokens);
      ReferenceModel::Vector pooled = ReferenceModel::Vector::Zero(test.config.dim);
      for (const auto& row : hidden) pooled += row / static_cast<double>(kTokens);
      if (test.pooling == Pooling::kCls) pooled = hidden.front();
      if (test.pooling == Pooling::kLast) pooled = hidden.back();
      const auto expected = reference.Head(pooled);
      const bool scores = test.config.HasScores();
      std::vector<float> out(static_cast<std::size_t>(expected.size()));
      Place place(*model, kTokens);
      const auto run = [&](std::span<float> to) {
        return scores ? inlay::ScoreSequence(*model, place.cache, place.workspace, tokens, to, serial)
                      : inlay::EmbedSequence(*model, place.cache, place.workspace, tokens, test.pooling, to, serial);
      };
      Value(run(out));
      for (std::size_t i = 0; i < out.size(); ++i) {
        BOOST_TEST(std::abs(static_cast<double>(out[i]) - expected(static_cast<Eigen::Index>(i))) < 3e-5 * (1.0 + expected.norm()));
      }
      out.push_back(0.0f);
      const auto wide = run(out);
      BOOST_REQUIRE(!wide);
      BOOST_TEST((wide.error().code == inlay::ErrorCode::kInvalidArgument));
    }
  }
  // No head, no scores; and scores are no embedding.
  const OpenedModel plain = OpenModel(FileOf(family::kBertSmall));
  Place place(*plain, 4);
  std::vector<float> out(family::kBertSmall.dim);
  const std::vector<inlay::TokenId> tokens = {1, 2, 3};
  const auto none = inlay::ScoreSequence(*plain, place.cache, place.workspace, tokens, out, serial);
  BOOST_REQUIRE(!none);
  BOOST_TEST((none.error().code == inlay::ErrorCode::kUnsupported));
  const auto rank = inlay::EmbedSequence(*plain, place.cache, place.workspace, tokens, Pooling::kRank, out, serial);
  BOOST_REQUIRE(!rank);
  BOOST_TEST((rank.error().code == inlay::ErrorCode::kInvalidArgument));
}

BOOST_AUTO_TEST_CASE(what_encoders_refuse) {
  inlay::SerialExecutor serial;
  const OpenedModel model = OpenModel(FileOf(family::kBertSmall));
  const auto tokens = RandomTokens(20, family::kBertSmall.vocab, 12);
  Place place(*model, 20);
  const auto code = [](const auto& result) { return result.has_value() ? inlay::ErrorCode{} : result.error().code; };
  const inlay::SequenceInput first{&place.cache, std::span(tokens).first(10), inlay::Outputs::kAll};
  const auto logits = model->Forward({&first, 1}, place.workspace, serial);
  BOOST_TEST((code(logits) == inlay::ErrorCode::kUnsupported));
  BOOST_TEST(place.cache.length() == 0u);
  // A sequence in two passes.
  BOOST_REQUIRE(model->Embed({&first, 1}, place.workspace, serial));
  const inlay::SequenceInput second{&place.cache, std::span(tokens).last(10), inlay::Outputs::kAll};
  BOOST_TEST((code(model->Embed({&second, 1}, place.workspace, serial)) == inlay::ErrorCode::kInvalidArgument));
  // Memory of the wrong size.
  Place small(*model, 10);
  std::vector<float> out(family::kBertSmall.dim);
  BOOST_TEST((code(inlay::EmbedSequence(*model, small.cache, small.workspace, tokens, Pooling::kMean, out, serial)) ==
              inlay::ErrorCode::kTooLarge));
  out.pop_back();
  BOOST_TEST((code(inlay::EmbedSequence(*model, place.cache, place.workspace, tokens, Pooling::kMean, out, serial)) ==
              inlay::ErrorCode::kInvalidArgument));
  BOOST_TEST((code(inlay::EmbedSequence(*model, place.cache, place.workspace, {}, Pooling::kMean, out, serial)) ==
              inlay::ErrorCode::kInvalidArgument));
}

// A table of positions ends.
BOOST_AUTO_TEST_CASE(learned_positions_end) {
  inlay::SerialExecutor serial;
  ModelConfig config = family::kGpt2Small;
  config.context = 8;
  const OpenedModel model = OpenModel(FileOf(config));
  const auto tokens = RandomTokens(9, config.vocab, 13);
  Place place(*model, 9);
  const inlay::SequenceInput input{&place.cache, tokens, inlay::Outputs::kLast};
  const auto result = model->Forward({&input, 1}, place.workspace, serial);
  BOOST_REQUIRE(!result);
  BOOST_TEST((result.error().code == inlay::ErrorCode::kContextFull));
  const inlay::SequenceInput fits{&place.cache, std::span(tokens).first(8), inlay::Outputs::kLast};
  BOOST_TEST(model->Forward({&fits, 1}, place.workspace, serial).has_value());
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
