// Binding a model, and every way in which a pass is refused.
#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <array>
#include <cstddef>
#include <cstring>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "inlay/core/executor.hpp"
#include "tests/support/random_model.hpp"
#include "tests/support/test_model.hpp"

namespace {

using namespace inlay_test;
using inlay::ErrorCode;
using inlay::KvType;
using inlay::ModelConfig;
using inlay::Outputs;
using inlay::SequenceInput;
using inlay::TokenId;
using inlay::WeightType;

inlay::SerialExecutor g_serial;

template <class T>
void ExpectError(const inlay::Result<T>& result, ErrorCode code, std::string_view words) {
  BOOST_REQUIRE(!result);
  BOOST_TEST_CONTEXT(result.error().Message().view()) {
    BOOST_TEST((result.error().code == code));
    BOOST_TEST(result.error().Message().view().find(words) != std::string_view::npos);
  }
}

const StaticModelEntry& StaticModelOf(const ModelConfig& config) {
  static const std::vector<StaticModelEntry> entries = StaticModels();
  for (const StaticModelEntry& entry : entries) {
    if (*entry.config == config) return entry;
  }
  throw std::out_of_range("no such static model");
}

// Caches and workspaces of several models, all over their own memory.
struct Memory {
  Memory(const TestModel& model, const inlay::SessionOptions& options)
      : bytes(2 * Value(model.PlanFor(options)).session()), arena(Value(inlay::Arena::Create(bytes))),
        cache(Value(model.NewCache(options, arena))), second(Value(model.NewCache(options, arena))),
        workspace(Value(model.NewWorkspace(options, arena))) {}
  AlignedBytes bytes;
  inlay::Arena arena;
  inlay::SequenceCache cache, second;
  inlay::Workspace workspace;
};

BOOST_AUTO_TEST_SUITE(model_model)

// A static model takes the file that it was compiled for, and says which field of another one differs.
BOOST_AUTO_TEST_CASE(another_configuration) {
  struct Case {
    std::string field;
    std::function<void(ModelConfig&)> change;
  };
  const std::vector<Case> cases = {
      {"dim", [](auto& c) { c.dim += 2; }},
      {"layers", [](auto& c) { c.layers += 1; }},
      {"heads", [](auto& c) { c.heads = 12; }},
      {"kv_heads", [](auto& c) { c.kv_heads = 6; }},
      {"head_dim", [](auto& c) { c.head_dim = 12; }},
      {"ffn_dim", [](auto& c) { c.ffn_dim += 1; }},
      {"vocab", [](auto& c) { c.vocab += 1; }},
      {"rope_dim", [](auto& c) { c.rope_dim = 4; }},
      {"window", [](auto& c) { c.window = 4; }},
      {"experts", [](auto& c) { c.experts = 2; c.experts_per_token = 1; }},
      {"rope_base", [](auto& c) { c.rope_base = 10000.0f; }},
      {"rope_scale", [](auto& c) { c.rope_scaling = inlay::RopeScaling::kLinear; c.rope_scale = 2.0f; }},
      {"rope_scaling", [](auto& c) { c.rope_scaling = inlay::RopeScaling::kFactors; }},
      {"norm_epsilon", [](auto& c) { c.norm_epsilon = 1e-5f; }},
      {"tied_embeddings", [](auto& c) { c.tied_embeddings = true; }},
  };
  const MakeModel make = StaticModelOf(kOddConfig).make;
  for (const Case& test : cases) {
    ModelConfig config = kOddConfig;
    test.change(config);
    const auto file = Value(OpenedFile::Open(WriteGguf(RandomModel({.config = config}))));
    const auto result = make(file->parts());
    ExpectError(result, ErrorCode::kMismatch, test.field);
    BOOST_TEST(MakeAnyModel(file->parts()).has_value());
  }
  const ModelConfig& expert = kExpertConfig;
  ModelConfig more = expert;
  more.experts_per_token = 3;
  ExpectError(StaticModelOf(expert).make(Value(OpenedFile::Open(WriteGguf(RandomModel({.config = more}))))->parts()),
              ErrorCode::kMismatch, "experts_per_token: the file has 3, this model type is compiled for 2");
  // The trained context is no dimension of the weights.
  ModelConfig longer = kOddConfig;
  longer.context = 5;
  BOOST_TEST(make(Value(OpenedFile::Open(WriteGguf(RandomModel({.config = longer}))))->parts()).has_value());
}

BOOST_AUTO_TEST_CASE(another_format) {
  const auto file = Value(OpenedFile::Open(WriteGguf(RandomModel({.config = kNarrowConfig, .type = [](std::string_view name) {
    return name == "blk.3.attn_v.weight" ? WeightType::kQ8_0 : WeightType::kF16;
  }}))));
  ExpectError(StaticModelOf(kNarrowConfig).make(file->parts()), ErrorCode::kUnsupported,
              "tensor blk.3.attn_v.weight: type Q8_0 is not in this model's formats (F32, F16, BF16); add Q8_0");
  BOOST_TEST(MakeAnyModel(file->parts()).has_value());
}

BOOST_AUTO_TEST_CASE(parts_that_do_not_fit) {
  const auto file = Value(OpenedFile::Open(WriteGguf(RandomModel({.config = kOddConfig}))));
  const auto with = [&](const std::function<void(ModelParts&)>& change) {
    ModelParts parts = file->parts();
    change(parts);
    return MakeAnyModel(parts);
  };
  BOOST_TEST(with([](auto&) {}).has_value());
  ExpectError(with([](auto& p) { p.config.heads = 0; }), ErrorCode::kMismatch, "heads");
  ExpectError(with([](auto& p) { p.config.norm_epsilon = std::numeric_limits<float>::quiet_NaN(); }), ErrorCode::kMismatch,
              "norm_epsilon");
  ExpectError(with([](auto& p) { p.table = p.table.first(1); }), ErrorCode::kInvalidArgument, "table");
  ExpectError(with([](auto& p) { p.types = p.types.first(p.types.size() - 1); }), ErrorCode::kMismatch, "tensor types");
  ExpectError(with([](auto& p) { p.packed = p.packed.first(p.packed.size() - 64); }), ErrorCode::kMismatch, "packed weights");
  ExpectError(with([](auto& p) { p.packed = p.packed.subspan(64); }), ErrorCode::kMismatch, "packed weights");
  ExpectError(with([](auto& p) { p.packed = {}; }), ErrorCode::kMismatch, "packed weights");
}

// A pass that is refused changes nothing.
BOOST_AUTO_TEST_CASE(refused_passes) {
  const OpenedModel model = OpenModel(RandomModel({.config = kOddConfig, .seed = 3}));
  const OpenedModel other = OpenModel(RandomModel({.config = kBlockConfig}));
  ModelConfig deeper_config = kOddConfig;
  deeper_config.layers = 3;
  const OpenedModel deeper = OpenModel(RandomModel({.config = deeper_config}));
  const inlay::SessionOptions options{.context = 20, .batch = 10, .outputs = 4};
  Memory memory(*model, options), foreign(*other, options), deep(*deeper, options);
  Memory large(*model, {.context = 300, .batch = 10, .outputs = 4});
  const auto tokens = RandomTokens(40, kOddConfig.vocab, 1);
  const auto at = [&](std::size_t begin, std::size_t count) { return std::span(tokens).subspan(begin, count); };
  const auto pass = [&](std::vector<SequenceInput> sequences, inlay::Workspace& workspace) {
    return model->Forward(sequences, workspace, g_serial);
  };
  Value(pass({{&memory.cache, at(0, 8), Outputs::kNone}}, memory.workspace));
  const auto refuse = [&](std::vector<SequenceInput> sequences, inlay::Workspace& workspace, ErrorCode code,
                          std::string_view words) {
    ExpectError(pass(std::move(sequences), workspace), code, words);
    BOOST_TEST(memory.cache.length() == 8u);
    BOOST_TEST(memory.second.length() == 0u);
  };
  const SequenceInput good{&memory.cache, at(8, 2), Outputs::kLast};
  refuse({good, {nullptr, at(0, 1)}}, memory.workspace, ErrorCode::kInvalidArgument, "cache: is null");
  refuse({good, {&foreign.cache, at(0, 1)}}, memory.workspace, ErrorCode::kInvalidArgument, "cache: was made for another");
  refuse({good, {&deep.cache, at(0, 1)}}, memory.workspace, ErrorCode::kInvalidArgument, "cache: was made for another");
  refuse({good}, foreign.workspace, ErrorCode::kInvalidArgument, "workspace: was made for another");
  refuse({good}, deep.workspace, ErrorCode::kInvalidArgument, "workspace: was made for another");
  refuse({good, good}, memory.workspace, ErrorCode::kInvalidArgument, "two sequences");
  refuse({good, {&large.cache, at(0, 1)}}, memory.workspace, ErrorCode::kTooLarge, "cache: has 300 positions");
  refuse({good, {&memory.second, at(0, 9), Outputs::kNone}}, memory.workspace, ErrorCode::kTooLarge, "tokens: 11 in one pass");
  refuse({good, {&memory.second, at(0, 4), Outputs::kAll}}, memory.workspace, ErrorCode::kTooLarge, "outputs: 5 in one pass");
  refuse({{&memory.cache, at(8, 13)}}, memory.workspace, ErrorCode::kContextFull, "12 of 20 positions left");
  for (const TokenId bad : {TokenId{-1}, TokenId{77}, std::numeric_limits<TokenId>::min()}) {
    const std::array<TokenId, 2> pair = {1, bad};
    refuse({good, {&memory.second, pair}}, memory.workspace, ErrorCode::kInvalidArgument, "token id");
  }
  // Nothing to do is no error; and after all that, a pass is as good as ever.
  BOOST_TEST(Value(pass({}, memory.workspace)).rows == 0u);
  BOOST_TEST(Value(pass({{&memory.second, {}, Outputs::kAll}}, memory.workspace)).rows == 0u);
  const inlay::LogitsView logits = Value(pass({good}, memory.workspace));
  BOOST_TEST(memory.cache.length() == 10u);
  const std::vector<float> expected = AllLogits(*model, at(0, 10), KvType::kF16, g_serial);
  BOOST_TEST(std::memcmp(logits.row(0).data(), &expected[9 * kOddConfig.vocab], kOddConfig.vocab * 4) == 0);
}

// One sequence that meets a weight that is no number fails the pass, and the others lose nothing.
BOOST_AUTO_TEST_CASE(non_finite_logits_of_one_sequence) {
  FileContents file = RandomModel({.config = kOddConfig});
  const float bad = std::numeric_limits<float>::infinity();
  std::memcpy(&file.tensor("token_embd.weight").data[9 * kOddConfig.dim * 4], &bad, sizeof(bad));
  const OpenedModel model = OpenModel(file);
  Memory memory(*model, {.context = 20, .batch = 10, .outputs = 4});
  const std::array<TokenId, 3> good = {1, 2, 3}, poisoned = {4, 9, 5};
  const auto pass = [&](std::vector<SequenceInput> sequences) { return model->Forward(sequences, memory.workspace, g_serial); };
  ExpectError(pass({{&memory.cache, good}, {&memory.second, poisoned}}), ErrorCode::kNonFinite, "logits");
  BOOST_TEST(memory.cache.length() == 0u);
  BOOST_TEST(memory.second.length() == 0u);
  const inlay::LogitsView logits = Value(pass({{&memory.cache, good}}));
  const std::vector<float> expected = AllLogits(*model, good, KvType::kF16, g_serial);
  BOOST_TEST(std::memcmp(logits.row(0).data(), &expected[2 * kOddConfig.vocab], kOddConfig.vocab * 4) == 0);
}

BOOST_AUTO_TEST_CASE(another_cache_type) {
  const auto file = Value(OpenedFile::Open(WriteGguf(RandomModel({.config = kOddConfig}))));
  const OpenedModel any = OpenModel(file->bytes());
  const auto model = Value(MakeHalfCacheModel(file->parts()));
  ExpectError(model->PlanFor({.kv = KvType::kQ8}), ErrorCode::kUnsupported,
              "kv: type q8 is not in this model's cache types (f16); add q8");
  AlignedBytes bytes(1 << 20);
  inlay::Arena arena = Value(inlay::Arena::Create(bytes));
  ExpectError(model->NewCache({.kv = KvType::kF32}, arena), ErrorCode::kUnsupported, "add f32");
  BOOST_TEST(arena.used() == 0u);
  // A cache that another model made.
  const inlay::SessionOptions options{.context = 20, .batch = 4, .kv = KvType::kQ8};
  inlay::SequenceCache cache = Value(any->NewCache(options, arena));
  inlay::Workspace workspace = Value(model->NewWorkspace({.context = 20, .batch = 4}, arena));
  const TokenId token = 1;
  const SequenceInput input{&cache, {&token, 1}, Outputs::kLast};
  ExpectError(model->Forward({&input, 1}, workspace, g_serial), ErrorCode::kUnsupported, "add q8");
  const std::vector<TokenId> tokens = {1, 2, 3};
  BOOST_TEST(AllLogits(*model, tokens, KvType::kF16, g_serial) == AllLogits(*any, tokens, KvType::kF16, g_serial));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
