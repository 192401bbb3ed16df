// Low-rank adapters and control vectors at run time: against weights that the change was added to, and against themselves on
// any number of threads, in any pieces, beside other sequences.
#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "inlay/core/thread_pool.hpp"
#include "inlay/weights/adapter.hpp"
#include "tests/support/lora.hpp"
#include "tests/support/random_model.hpp"
#include "tests/support/test_model.hpp"

namespace {

using namespace inlay_test;
using inlay::Adapters;
using inlay::ErrorCode;
using inlay::KvType;
using inlay::LoraUse;
using inlay::ModelConfig;

const inlay::SerialExecutor kSerial;
constexpr const char* kAll[] = {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"};

std::vector<LoraTarget> Targets(FileContents& model, const std::vector<std::string>& names) {
  std::vector<LoraTarget> targets;
  for (const FileTensor& tensor : model.tensors) {
    for (const std::string& name : names) {
      if (tensor.name.starts_with("blk.") && tensor.name.ends_with("." + name + ".weight")) {
        targets.push_back({tensor.name, static_cast<std::size_t>(tensor.dims[1]), static_cast<std::size_t>(tensor.dims[0])});
      }
    }
  }
  return targets;
}

// An adapter bound to a configuration, with exactly the memory that was promised.
struct Bound {
  Bound(const ModelConfig& config, const FileContents& contents) : Bound(config, WriteGguf(contents)) {}
  Bound(const ModelConfig& config, AlignedBytes file) : bytes(std::move(file)), index(inlay::GgufFile::IndexBytes(bytes)) {
    inlay::Arena index_arena = Value(inlay::Arena::Create(index));
    gguf = Value(inlay::GgufFile::Open(bytes, index_arena));
    const auto size = inlay::LoraAdapter::MemoryBytes(config, *gguf);
    memory.resize(size.value_or(4096));
    inlay::Arena arena = Value(inlay::Arena::Create(memory));
    lora.emplace(inlay::LoraAdapter::Create(config, *gguf, arena));
    // Counting does not look at values.
    BOOST_TEST((size.has_value() || !lora->has_value()));
    BOOST_TEST(arena.remaining() == (*lora ? 0 : memory.size()));
  }
  LoraUse use(float scale = 1.0f) const { return {&**lora, scale}; }

  AlignedBytes bytes, index, memory;
  std::optional<inlay::GgufFile> gguf;
  std::optional<inlay::Result<inlay::LoraAdapter>> lora;
};

// The model with W + scale * B A in place of W, in double.
void MergeInto(FileContents& model, FileContents& adapter, float scale) {
  for (FileTensor& a : adapter.tensors) {
    if (!a.name.ends_with(".lora_a")) continue;
    const std::string base = a.name.substr(0, a.name.size() - 7);
    FileTensor& b = adapter.tensor(base + ".lora_b");
    FileTensor& w = model.tensor(base);
    const auto floats = [](FileTensor& t) { return reinterpret_cast<float*>(t.data.data()); };
    float alpha = 0;
    for (const FileValue& value : adapter.metadata) {
      if (value.key == "adapter.lora.alpha") alpha = std::get<float>(value.value);
    }
    const std::size_t cols = a.dims[0], rank = a.dims[1], rows = b.dims[1];
    const double factor = static_cast<double>(scale) * (alpha == 0 ? 1.0 : static_cast<double>(alpha) / static_cast<double>(rank));
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t c = 0; c < cols; ++c) {
        double sum = 0;
        for (std::size_t k = 0; k < rank; ++k) {
          sum += static_cast<double>(floats(b)[r * rank + k]) * static_cast<double>(floats(a)[k * cols + c]);
        }
        floats(w)[r * cols + c] = static_cast<float>(static_cast<double>(floats(w)[r * cols + c]) + factor * sum);
      }
    }
  }
}

double Difference(const std::vector<float>& a, const std::vector<float>& b) {
  BOOST_REQUIRE(a.size() == b.size());
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(static_cast<double>(a[i] - b[i])));
  return largest;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(model_adapter)

BOOST_AUTO_TEST_CASE(EqualsMergedWeights) {
  for (const ModelConfig& config : {kBlockConfig, kOddConfig}) {
    FileContents model = RandomModel({.config = config});
    const std::vector<inlay::TokenId> tokens = RandomTokens(40, config.vocab, 2);
    const OpenedModel plain = OpenModel(model);
    const std::vector<float> base = AllLogits(*plain, tokens, KvType::kF32, kSerial);
    const auto check = [&](const std::vector<std::string>& names, std::size_t rank, float alpha, float scale) {
      FileContents adapter = RandomLora(Targets(model, names), rank, alpha, 7);
      const Bound bound(config, adapter);
      BOOST_REQUIRE_MESSAGE(bound.lora->has_value(), (*bound.lora ? "" : bound.lora->error().Message().c_str()));
      const LoraUse use = bound.use(scale);
      const Adapters adapters{{&use, 1}, {}};
      FileContents merged = model;
      MergeInto(merged, adapter, scale);
      const std::vector<float> expected = AllLogits(*OpenModel(merged), tokens, KvType::kF32, kSerial);
      const std::vector<float> found = AllLogits(*plain, tokens, KvType::kF32, kSerial, 4096, 0, &adapters);
      BOOST_TEST(Difference(found, expected) < 2e-4, names[0] << " rank " << rank);
      if (scale != 0.0f) BOOST_TEST(Difference(found, base) > 1e-2, names[0]);
    };
    for (const char* name : kAll) check({name}, 3, 6.0f, 1.0f);
    check({std::begin(kAll), std::end(kAll)}, 16, 8.0f, -0.7f);
    check({"attn_q", "ffn_down"}, 21, 0.0f, 0.5f);
    check({"attn_v"}, 1, 1.0f, 2.0f);
  }
}

BOOST_AUTO_TEST_CASE(SeveralAdaptersAdd) {
  FileContents model = RandomModel({.config = kBlockConfig});
  FileContents first = RandomLora(Targets(model, {"attn_q", "ffn_up"}), 4, 8.0f, 1);
  FileContents second = RandomLora(Targets(model, {"attn_q", "attn_output"}), 18, 4.0f, 2);
  const Bound a(kBlockConfig, first), b(kBlockConfig, second);
  const LoraUse uses[] = {a.use(0.5f), b.use(-1.0f)};
  const Adapters adapters{uses, {}};
  BOOST_TEST(adapters.rank() == 22u);
  FileContents merged = model;
  MergeInto(merged, first, 0.5f);
  MergeInto(merged, second, -1.0f);
  const std::vector<inlay::TokenId> tokens = RandomTokens(33, kBlockConfig.vocab, 3);
  BOOST_TEST(Difference(AllLogits(*OpenModel(model), tokens, KvType::kF32, kSerial, 4096, 0, &adapters),
                        AllLogits(*OpenModel(merged), tokens, KvType::kF32, kSerial)) < 2e-4);
}

// Nothing, and a strength of nothing, change no bit; nor do threads and pieces with quantised weights.
BOOST_AUTO_TEST_CASE(SameBits) {
  FileContents model = RandomModel({.config = kBlockConfig, .type = MixOf({inlay::WeightType::kQ8_0, inlay::WeightType::kQ4_0})});
  const OpenedModel opened = OpenModel(model);
  const Bound bound(kBlockConfig, RandomLora(Targets(model, {std::begin(kAll), std::end(kAll)}), 5, 5.0f, 4));
  const std::vector<inlay::TokenId> tokens = RandomTokens(70, kBlockConfig.vocab, 5);
  const std::vector<float> base = AllLogits(*opened, tokens, KvType::kF16, kSerial);
  const LoraUse none = bound.use(0.0f), full = bound.use(0.8f);
  const Adapters empty, off{{&none, 1}, {}}, on{{&full, 1}, {}};
  BOOST_TEST((AllLogits(*opened, tokens, KvType::kF16, kSerial, 4096, 0, &empty) == base));
  BOOST_TEST((AllLogits(*opened, tokens, KvType::kF16, kSerial, 4096, 0, &off) == base));
  const std::vector<float> changed = AllLogits(*opened, tokens, KvType::kF16, kSerial, 4096, 0, &on);
  BOOST_TEST(Difference(changed, base) > 1e-2);
  inlay::ThreadPool two(2), three(3);
  for (const std::size_t batch : {1u, 7u, 33u, 70u}) {
    BOOST_TEST((AllLogits(*opened, tokens, KvType::kF16, two, batch, 0, &on) == changed), "passes of " << batch);
    BOOST_TEST((AllLogits(*opened, tokens, KvType::kF16, three, batch, 0, &on) == changed), "passes of " << batch);
  }
}

// Each sequence of a pass has what it would have alone.
BOOST_AUTO_TEST_CASE(SequencesDiffer) {
  FileContents model = RandomModel({.config = kBlockConfig});
  const OpenedModel opened = OpenModel(model);
  const Bound a(kBlockConfig, RandomLora(Targets(model, {"attn_k", "ffn_gate"}), 3, 3.0f, 1));
  const Bound b(kBlockConfig, RandomLora(Targets(model, {"attn_v", "ffn_down"}), 9, 3.0f, 2));
  const LoraUse first = a.use(), second = b.use(0.5f), both[] = {b.use(1.0f), a.use(-1.0f)};
  const Adapters sets[] = {{{&first, 1}, {}}, {}, {{&second, 1}, {}}, {both, {}}};
  inlay::SessionOptions options{.context = 64, .batch = 64, .outputs = 64, .threads = 2, .kv = KvType::kF32, .adapter_rank = 12};
  AlignedBytes memory(Value(opened->PlanFor(options)).scratch);
  inlay::Arena arena = Value(inlay::Arena::Create(memory));
  inlay::Workspace workspace = Value(opened->NewWorkspace(options, arena));
  std::vector<AlignedBytes> cache_memory;
  std::vector<inlay::SequenceCache> caches;
  std::vector<std::vector<inlay::TokenId>> tokens;
  std::vector<inlay::SequenceInput> inputs;
  for (std::size_t i = 0; i < 4; ++i) {
    cache_memory.emplace_back(Value(opened->PlanFor(options)).kv_cache);
    inlay::Arena cache_arena = Value(inlay::Arena::Create(cache_memory.back()));
    caches.push_back(Value(opened->NewCache(options, cache_arena)));
    tokens.push_back(RandomTokens(5 + 3 * i, kBlockConfig.vocab, 10 + i));
  }
  for (std::size_t i = 0; i < 4; ++i) inputs.push_back({&caches[i], tokens[i], inlay::Outputs::kAll, i == 1 ? nullptr : &sets[i]});
  inlay::ThreadPool pool(2);
  const inlay::LogitsView logits = Value(opened->Forward(inputs, workspace, pool));
  std::size_t row = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    const std::vector<float> alone = AllLogits(*opened, tokens[i], KvType::kF32, kSerial, 4096, 0, &sets[i]);
    BOOST_TEST(std::memcmp(alone.data(), logits.row(row).data(), alone.size() * sizeof(float)) == 0, "sequence " << i);
    row += tokens[i].size();
  }
}

// A model whose file has queries, keys and values, and gate and up, in one: parts of one change.
BOOST_AUTO_TEST_CASE(FusedMatrices) {
  ModelConfig config = kBlockConfig;
  config.architecture = inlay::Architecture::kPhi3;
  config.rope.style = inlay::RopeStyle::kHalves;
  FileContents adapter = RandomLora({{"blk.1.attn_qkv.weight", config.q_dim() + 2 * config.k_dim(), config.dim},
                                     {"blk.0.ffn_up.weight", 2 * config.ffn_dim, config.dim}}, 4, 4.0f, 1);
  adapter.Set("general.architecture", std::string("phi3"));
  const Bound bound(config, adapter);
  BOOST_REQUIRE_MESSAGE(bound.lora->has_value(), (*bound.lora ? "" : bound.lora->error().Message().c_str()));
  const inlay::LoraAdapter& lora = **bound.lora;
  const auto index = [](inlay::TensorRole role) { return *inlay::AdaptedIndex(role); };
  using enum inlay::TensorRole;
  BOOST_TEST((lora.change(1, index(kQuery)).down == lora.change(1, index(kValue)).down && lora.change(0, index(kQuery)).down == nullptr));
  const auto first_up = [&](std::size_t layer, inlay::TensorRole role) { return lora.change(layer, index(role)).up[0]; };
  const auto b = [&](std::string_view name, std::size_t row) {
    float value = 0;
    std::memcpy(&value, &adapter.tensor(name).data[row * 4 * sizeof(float)], sizeof(value));
    return value;
  };
  BOOST_TEST(first_up(1, kQuery) == b("blk.1.attn_qkv.weight.lora_b", 0));
  BOOST_TEST(first_up(1, kKey) == b("blk.1.attn_qkv.weight.lora_b", config.q_dim()));
  BOOST_TEST(first_up(1, kValue) == b("blk.1.attn_qkv.weight.lora_b", config.q_dim() + config.k_dim()));
  BOOST_TEST(first_up(0, kGate) == b("blk.0.ffn_up.weight.lora_b", 0));
  BOOST_TEST(first_up(0, kUp) == b("blk.0.ffn_up.weight.lora_b", config.ffn_dim));
}

// Bad inputs 50 and 51.
BOOST_AUTO_TEST_CASE(AdaptersOfAnotherModelAreRefused) {
  const auto expect = [](FileContents contents, ErrorCode code, std::string_view words) {
    const Bound bound(kBlockConfig, contents);
    BOOST_REQUIRE(!bound.lora->has_value());
    const inlay::Error& error = bound.lora->error();
    BOOST_TEST(inlay::Name(error.code) == inlay::Name(code), error.Message().view());
    BOOST_TEST(error.detail.view().find(words) != std::string_view::npos, error.Message().view());
  };
  const std::size_t dim = kBlockConfig.dim, ffn = kBlockConfig.ffn_dim;
  FileContents other = RandomLora({{"blk.0.attn_q.weight", 96, dim}}, 2, 1.0f, 1);
  other.Set("general.architecture", std::string("qwen2"));
  expect(other, ErrorCode::kMismatch, "the adapter is for \"qwen2\", the model is \"llama\"");
  expect(RandomLora({{"blk.2.attn_q.weight", 96, dim}}, 2, 1.0f, 1), ErrorCode::kMismatch, "changes blk.2.attn_q.weight, which is not part");
  expect(RandomLora({{"blk.0.attn_x.weight", 96, dim}}, 2, 1.0f, 1), ErrorCode::kMismatch, "not part");
  expect(RandomLora({{"blk.0.attn_q.weight", 97, dim}}, 2, 1.0f, 1), ErrorCode::kMismatch, "[97, 96], the model's is [96, 96]");
  expect(RandomLora({{"blk.0.ffn_down.weight", ffn, dim}}, 2, 1.0f, 1), ErrorCode::kMismatch, "the model's is [96, 160]");
  expect(RandomLora({{"token_embd.weight", 100, dim}}, 2, 1.0f, 1), ErrorCode::kUnsupported, "merge it");
  FileContents huge = RandomLora({{"blk.0.attn_q.weight", 96, dim}}, 2, 1.0f, 1);
  huge.Set("adapter.lora.alpha", 3e38f);
  for (std::size_t i = 0; i < 96; ++i) std::memcpy(&huge.tensors[1].data[8 * i], "\x00\x00\x80\x42", 4);  // 64.0f
  expect(huge, ErrorCode::kNonFinite, "scaled");
}

BOOST_AUTO_TEST_CASE(WhatDoesNotFitIsAnErrorAndChangesNothing) {
  FileContents model = RandomModel({.config = kBlockConfig});
  const OpenedModel opened = OpenModel(model);
  const Bound bound(kBlockConfig, RandomLora(Targets(model, {"attn_q"}), 3, 3.0f, 1));
  const std::size_t without = Value(opened->PlanFor({.context = 16, .batch = 8})).scratch;
  const std::size_t with = Value(opened->PlanFor({.context = 16, .batch = 8, .adapter_rank = 3})).scratch;
  BOOST_TEST(with == without + inlay::ArenaBytes<float>(3 * 8 * 3));
  const inlay::SessionOptions options{.context = 16, .batch = 8, .kv = KvType::kF32, .adapter_rank = 2};
  AlignedBytes memory(Value(opened->PlanFor(options)).session());
  inlay::Arena arena = Value(inlay::Arena::Create(memory));
  inlay::SequenceCache cache = Value(opened->NewCache(options, arena));
  inlay::Workspace workspace = Value(opened->NewWorkspace(options, arena));
  const inlay::TokenId token = 1;
  const auto refused = [&](const Adapters& adapters, ErrorCode code) {
    const inlay::SequenceInput input{&cache, {&token, 1}, inlay::Outputs::kLast, &adapters};
    const auto result = opened->Forward({&input, 1}, workspace, kSerial);
    BOOST_REQUIRE(!result.has_value());
    BOOST_TEST(inlay::Name(result.error().code) == inlay::Name(code), result.error().Message().view());
    BOOST_TEST(cache.length() == 0u);
  };
  const LoraUse fits = bound.use(), null{nullptr, 1.0f}, infinite = bound.use(std::numeric_limits<float>::infinity());
  refused({{&fits, 1}, {}}, ErrorCode::kTooLarge);
  refused({{&null, 1}, {}}, ErrorCode::kInvalidArgument);
  refused({{&infinite, 1}, {}}, ErrorCode::kInvalidArgument);
  const Bound other(kOddConfig, RandomLora({{"blk.0.attn_q.weight", 60, 36}}, 1, 1.0f, 1));
  const LoraUse foreign = other.use();
  refused({{&foreign, 1}, {}}, ErrorCode::kInvalidArgument);
  const inlay::ControlUse no_vector;
  refused({{}, {&no_vector, 1}}, ErrorCode::kInvalidArgument);
  BOOST_TEST(!opened->PlanFor({.adapter_rank = inlay::kMaxLoraRank + 1}).has_value());
}

// --- control vectors ---

// A file in memory with its index.
struct IndexedFile {
  AlignedBytes bytes, index;
  std::optional<inlay::GgufFile> file;
  const inlay::GgufFile& gguf() const { return *file; }
};
std::unique_ptr<IndexedFile> OpenGguf(AlignedBytes bytes) {
  auto opened = std::make_unique<IndexedFile>();
  opened->bytes = std::move(bytes);
  opened->index.resize(inlay::GgufFile::IndexBytes(opened->bytes));
  inlay::Arena arena = Value(inlay::Arena::Create(opened->index));
  opened->file = Value(inlay::GgufFile::Open(opened->bytes, arena));
  return opened;
}

FileContents Directions(const std::vector<std::pair<std::size_t, std::vector<float>>>& directions) {
  FileContents contents;
  contents.Set("general.architecture", std::string("controlvector"));
  contents.Set("controlvector.model_hint", std::string("llama"));
  for (const auto& [layer, values] : directions) {
    contents.tensors.push_back(FloatTensor("direction." + std::to_string(layer), {values.size()}, values));
  }
  return contents;
}

// With a strength beyond everything else, what comes out is the direction alone: output * norm(direction).
BOOST_AUTO_TEST_CASE(ControlVectorsAddBehindTheirLayer) {
  FileContents model = RandomModel({.config = kBlockConfig});
  const std::size_t dim = kBlockConfig.dim, vocab = kBlockConfig.vocab;
  Random random(9);
  std::vector<float> direction(dim);
  for (float& value : direction) value = random.Symmetric();
  const OpenedModel opened = OpenModel(model);
  const auto file = OpenGguf(WriteGguf(Directions({{1, direction}})));
  const inlay::ControlVector vector = Value(inlay::ControlVector::Open(kBlockConfig, file->gguf()));
  BOOST_TEST((vector.direction(1) != nullptr && vector.direction(0) == nullptr && vector.dim() == dim));
  const std::vector<inlay::TokenId> tokens = RandomTokens(9, vocab, 1);
  const auto logits = [&](const inlay::ControlUse& use) {
    const Adapters adapters{{}, {&use, 1}};
    return AllLogits(*opened, tokens, KvType::kF32, kSerial, 4096, 0, &adapters);
  };
  const std::vector<float> base = AllLogits(*opened, tokens, KvType::kF32, kSerial);
  BOOST_TEST((logits({&vector, 0.0f}) == base));
  BOOST_TEST((logits({&vector, 5.0f, 0, 0}) == base));
  BOOST_TEST((logits({&vector, 5.0f, 2, 9}) == base));
  BOOST_TEST(Difference(logits({&vector, 1.0f}), base) > 1e-2);
  const std::vector<float> found = logits({&vector, 1e6f, 1, 1});
  double mean = 0;
  for (const float value : direction) mean += static_cast<double>(value) * static_cast<double>(value) / static_cast<double>(dim);
  const float* gain = reinterpret_cast<const float*>(model.tensor("output_norm.weight").data.data());
  const float* output = reinterpret_cast<const float*>(model.tensor("output.weight").data.data());
  for (std::size_t t = 0; t < tokens.size(); ++t) {
    for (std::size_t v = 0; v < vocab; ++v) {
      double sum = 0;
      for (std::size_t i = 0; i < dim; ++i) {
        sum += static_cast<double>(output[v * dim + i]) * static_cast<double>(gain[i]) * static_cast<double>(direction[i]) / std::sqrt(mean);
      }
      BOOST_REQUIRE(std::abs(static_cast<double>(found[t * vocab + v]) - sum) < 1e-3);
    }
  }
}

BOOST_AUTO_TEST_CASE(BadControlVectors) {
  const std::vector<float> good(kBlockConfig.dim, 1.0f);
  const auto expect = [](const FileContents& contents, ErrorCode code, std::string_view words) {
    const auto file = OpenGguf(WriteGguf(contents));
    const auto vector = inlay::ControlVector::Open(kBlockConfig, file->gguf());
    BOOST_REQUIRE(!vector.has_value());
    BOOST_TEST(inlay::Name(vector.error().code) == inlay::Name(code), vector.error().Message().view());
    BOOST_TEST(vector.error().Message().view().find(words) != std::string_view::npos, vector.error().Message().view());
  };
  expect(Directions({}), ErrorCode::kMissing, "no directions");
  expect(Directions({{0, good}}), ErrorCode::kMismatch, "direction.0");
  expect(Directions({{2, good}}), ErrorCode::kMismatch, "2 layers");
  expect(Directions({{1, std::vector<float>(95)}}), ErrorCode::kMismatch, "95");
  std::vector<float> bad = good;
  bad[7] = std::numeric_limits<float>::quiet_NaN();
  expect(Directions({{1, bad}}), ErrorCode::kNonFinite, "direction.1");
  FileContents other = Directions({{1, good}});
  other.Set("controlvector.model_hint", std::string("qwen2"));
  expect(other, ErrorCode::kMismatch, "qwen2");
  other = Directions({{1, good}});
  other.Set("general.architecture", std::string("llama"));
  expect(other, ErrorCode::kMismatch, "must be \"controlvector\"");
  for (const char* name : {"direction.", "direction.01", "direction.1x", "direction.-1", "directions.1", "direction.999999"}) {
    other = Directions({{1, good}});
    other.tensors[0].name = name;
    expect(other, ErrorCode::kMismatch, name);
  }
  other = Directions({{1, good}});
  other.tensors[0].type_id = static_cast<std::uint32_t>(inlay::WeightType::kF16);
  other.tensors[0].data.resize(2 * kBlockConfig.dim);
  expect(other, ErrorCode::kUnsupported, "F32");
}

BOOST_AUTO_TEST_SUITE_END()
