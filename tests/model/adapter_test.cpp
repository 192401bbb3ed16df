// Low-rank adapters and control vectors at run time: against weights that the change was added to, and against themselves on
// any number of threads, in any pieces, beside other sequences.
#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "inlay/core/thread_pool.hpp"
#include "inlay/weights/adapter.hpp"
#include "tests/support/family_models.hpp"
#include "tests/support/hybrid_models.hpp"
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
    memory.resize(size.value_or(1 << 16));
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

// The model with W + scale * B A in place of W, in double. What the adapter does to a table of embeddings is not done to an output
// matrix that is the same tensor: that becomes one of its own, where a model has `logits`.
void MergeInto(FileContents& model, FileContents& adapter, float scale, bool logits = true) {
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
    const bool table = base == "token_embd.weight";
    const std::size_t rank = b.dims[0], cols = w.dims[0], rows = w.dims[1], count = w.dims.size() > 2 ? w.dims[2] : 1;
    const bool one_a = a.dims.size() < 3;  // for all matrices of the tensor
    const auto a_of = [&](std::size_t m, std::size_t k, std::size_t row, std::size_t col) {
      return floats(a)[table ? row * rank + k : ((one_a ? 0 : m * rank) + k) * cols + col];
    };
    const auto b_of = [&](std::size_t m, std::size_t k, std::size_t row, std::size_t col) {
      return floats(b)[(table ? col : m * rows + row) * rank + k];
    };
    const double factor = static_cast<double>(scale) * (alpha == 0 ? 1.0 : static_cast<double>(alpha) / static_cast<double>(rank));
    const bool tied = table && logits && std::none_of(model.tensors.begin(), model.tensors.end(),
                                            [](const FileTensor& t) { return t.name == "output.weight"; });
    FileTensor output = w;
    for (std::size_t m = 0; m < count; ++m) {
      for (std::size_t r = 0; r < rows; ++r) {
        for (std::size_t c = 0; c < cols; ++c) {
          double sum = 0;
          for (std::size_t k = 0; k < rank; ++k) {
            sum += static_cast<double>(b_of(m, k, r, c)) * static_cast<double>(a_of(m, k, r, c));
          }
          float& value = floats(w)[(m * rows + r) * cols + c];
          value = static_cast<float>(static_cast<double>(value) + factor * sum);
        }
      }
    }
    if (!tied) continue;
    output.name = "output.weight";
    model.tensors.push_back(std::move(output));
  }
}

double Difference(const std::vector<float>& a, const std::vector<float>& b) {
  BOOST_REQUIRE(a.size() == b.size());
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(static_cast<double>(a[i] - b[i])));
  return largest;
}

// Logits of all tokens, or hidden states where a model has no logits.
std::vector<float> Results(const TestModel& model, const std::vector<inlay::TokenId>& tokens, const Adapters* adapters = nullptr) {
  if (model.config().logits) return AllLogits(model, tokens, KvType::kF32, kSerial, 4096, 0, adapters);
  const inlay::SessionOptions options{.context = tokens.size(), .batch = tokens.size(), .kv = KvType::kF32,
                                      .adapter_rank = adapters == nullptr ? 0 : adapters->rank()};
  AlignedBytes memory(Value(model.PlanFor(options)).session());
  inlay::Arena arena = Value(inlay::Arena::Create(memory));
  inlay::SequenceCache cache = Value(model.NewCache(options, arena));
  inlay::Workspace workspace = Value(model.NewWorkspace(options, arena));
  const inlay::SequenceInput input{&cache, tokens, inlay::Outputs::kAll, adapters};
  const inlay::HiddenView hidden = Value(model.Embed({&input, 1}, workspace, kSerial));
  std::vector<float> out;
  for (std::size_t row = 0; row < hidden.rows; ++row) out.insert(out.end(), hidden.row(row).begin(), hidden.row(row).end());
  return out;
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

// Every matrix of every kind of layer, name by name.
BOOST_AUTO_TEST_CASE(EqualsMergedWeightsInEveryFamily) {
  const auto random = [](const ModelConfig& config) { return RandomModel({.config = config, .seed = 3}); };
  constexpr HybridShape kPlain{}, kMixed{.experts = 8, .used = 3, .expert_ffn = 20, .shared_ffn = 28};
  const std::vector<std::pair<std::string, FileContents>> models = {
      {"llama", random(family::kMistral)},
      {"experts", random(kExpertConfig)},
      {"llama4", random(family::kLlama4Text)},
      {"tied", random(family::kSmol)},
      {"fused", random(family::kPhi)},
      {"shared network", random(family::kGraniteExperts)},
      {"biases of experts", random(family::kOss)},
      {"gemma3n", random(family::kGemmaThreeN)},
      {"gemma4", random(family::kGemmaFour)},
      {"experts beside", random(family::kGemmaFourExperts)},
      {"encoder", random(family::kNomicExperts)},
      {"lfm2", Lfm2Model(kPlain)},
      {"deepseek", DeepSeekModel(kMixed, {.groups = 4, .groups_used = 2, .sigmoid = true})},
      {"deepseek lite", DeepSeekModel(kMixed, {.query_rank = 0, .legacy = true})},
      {"qwen3next", QwenDeltaModel("qwen3next", kMixed, {})},
      {"qwen35", QwenDeltaModel("qwen35", kPlain, {})},
      {"granite", MambaModel(kPlain, {.heads = 6, .groups = 2, .key_dim = 10, .value_dim = 16}, false)},
      {"mamba2", MambaModel(kPlain, {.kernel = 2, .heads = 3, .groups = 1, .key_dim = 30, .value_dim = 140}, true)},
  };
  // What an adapter cannot change, and what is no matrix.
  const std::set<std::string, std::less<>> others = {"position_embd.weight", "token_types.weight", "per_layer_token_embd.weight",
                                                     "per_layer_model_proj.weight", "altup_proj.weight", "altup_unembd_proj.weight",
                                                     "altup_router.weight", "altup_predict_coef.weight", "altup_correct_coef.weight",
                                                     "shortconv.conv.weight", "ssm_conv1d.weight", "ssm_a", "ssm_d", "ssm_norm.weight"};
  std::set<std::string> tested;
  for (const auto& [label, file] : models) {
    const OpenedModel plain = OpenModel(file);
    const std::string architecture(inlay::Name(plain->config().architecture));
    const std::vector<inlay::TokenId> tokens = RandomTokens(24, plain->config().vocab, 2);
    const std::vector<float> base = Results(*plain, tokens);
    // The tensors of each name, without the layer.
    std::map<std::string, std::vector<LoraTarget>> targets;
    for (const FileTensor& tensor : file.tensors) {
      const std::size_t dot = tensor.name.find('.', 4);
      const std::string name = tensor.name.starts_with("blk.") ? tensor.name.substr(dot + 1) : tensor.name;
      if (tensor.dims.size() < 2 || others.contains(name) || name.ends_with(".bias")) continue;
      targets[name].push_back({tensor.name, tensor.dims[1], tensor.dims[0], tensor.dims.size() > 2 ? tensor.dims[2] : 1});
    }
    for (const auto& [name, list] : targets) {
      FileContents adapter = RandomLora(list, 3, 6.0f, 7, 0.3f, architecture);
      const Bound bound(plain->config(), adapter);
      BOOST_REQUIRE_MESSAGE(bound.lora->has_value(), label << " " << name << ": " << (*bound.lora ? "" : bound.lora->error().Message().c_str()));
      const LoraUse use = bound.use(0.8f);
      const Adapters adapters{{&use, 1}, {}};
      FileContents merged = file;
      MergeInto(merged, adapter, 0.8f, plain->config().logits);
      const std::vector<float> expected = Results(*OpenModel(merged), tokens), found = Results(*plain, tokens, &adapters);
      BOOST_TEST(Difference(found, expected) < 2e-4, label << " " << name);
      BOOST_TEST(Difference(expected, base) > 1e-2, label << " " << name);
      tested.insert(name);
    }
  }
  for (const char* name : {"token_embd.weight", "output.weight", "ffn_gate_inp.weight", "ffn_gate_exps.weight", "ffn_up_exps.weight",
                           "ffn_down_exps.weight", "ffn_gate_up_exps.weight", "ffn_down_shexp.weight", "attn_q_a.weight",
                           "attn_q_b.weight", "attn_kv_a_mqa.weight", "attn_kv_b.weight", "attn_k_b.weight", "attn_v_b.weight",
                           "shortconv.in_proj.weight", "shortconv.out_proj.weight", "ssm_in.weight", "ssm_ba.weight", "ssm_alpha.weight",
                           "ssm_beta.weight", "ssm_out.weight", "attn_gate.weight", "inp_gate.weight", "proj.weight", "laurel_l.weight",
                           "laurel_r.weight", "attn_qkv.weight"}) {
    BOOST_TEST(tested.contains(name), name);
  }
}

// Experts, embeddings and logits of single positions: neither threads, pieces nor neighbours change a bit.
BOOST_AUTO_TEST_CASE(SameBitsWithExperts) {
  FileContents model = RandomModel({.config = kExpertConfig, .type = MixOf({inlay::WeightType::kQ8_0, inlay::WeightType::kQ4_0})});
  const OpenedModel opened = OpenModel(model);
  const auto lora = [&](std::uint64_t seed, std::size_t rank) {
    std::vector<LoraTarget> targets = {{"token_embd.weight", kExpertConfig.vocab, kExpertConfig.dim},
                                       {"output.weight", kExpertConfig.vocab, kExpertConfig.dim}};
    for (const char* layer : {"blk.0.", "blk.1."}) {
      targets.push_back({std::string(layer) + "ffn_gate_exps.weight", kExpertConfig.ffn_dim, kExpertConfig.dim, kExpertConfig.experts});
      targets.push_back({std::string(layer) + "ffn_down_exps.weight", kExpertConfig.dim, kExpertConfig.ffn_dim, kExpertConfig.experts});
    }
    return RandomLora(targets, rank, 5.0f, seed);
  };
  const Bound a(kExpertConfig, lora(4, 5)), b(kExpertConfig, lora(5, 2));
  const LoraUse first = a.use(0.8f), both[] = {b.use(1.0f), a.use(-0.4f)};
  const Adapters sets[] = {{{&first, 1}, {}}, {}, {both, {}}};
  const std::vector<inlay::TokenId> tokens = RandomTokens(70, kExpertConfig.vocab, 5);
  std::vector<std::vector<float>> alone;
  inlay::ThreadPool two(2);
  for (const Adapters& set : sets) {
    alone.push_back(AllLogits(*opened, tokens, KvType::kF16, kSerial, 4096, 0, &set));
    for (const std::size_t batch : {1u, 7u, 33u}) {
      BOOST_TEST((AllLogits(*opened, tokens, KvType::kF16, two, batch, 0, &set) == alone.back()), "passes of " << batch);
    }
  }
  BOOST_TEST(Difference(alone[0], alone[1]) > 1e-2);
  BOOST_TEST(Difference(alone[2], alone[1]) > 1e-2);
  // All three in one pass; of the first and the last only one position is asked for.
  inlay::SessionOptions options{.context = 210, .batch = 210, .outputs = 72, .threads = 2, .kv = KvType::kF16, .adapter_rank = 7};
  AlignedBytes memory(Value(opened->PlanFor(options)).scratch);
  inlay::Arena arena = Value(inlay::Arena::Create(memory));
  inlay::Workspace workspace = Value(opened->NewWorkspace(options, arena));
  AlignedBytes cache_memory(3 * Value(opened->PlanFor(options)).kv_cache);
  inlay::Arena cache_arena = Value(inlay::Arena::Create(cache_memory));
  std::vector<inlay::SequenceCache> caches;
  for (std::size_t i = 0; i < 3; ++i) caches.push_back(Value(opened->NewCache(options, cache_arena)));
  std::vector<inlay::SequenceInput> inputs;
  for (std::size_t i = 0; i < 3; ++i) {
    inputs.push_back({&caches[i], tokens, i == 1 ? inlay::Outputs::kAll : inlay::Outputs::kLast, &sets[i]});
  }
  const inlay::LogitsView logits = Value(opened->Forward(inputs, workspace, two));
  const std::size_t vocab = kExpertConfig.vocab, last = (tokens.size() - 1) * vocab;
  const auto same = [&](std::size_t row, std::size_t set, std::size_t from, std::size_t rows) {
    return std::memcmp(logits.row(row).data(), &alone[set][from], rows * vocab * sizeof(float)) == 0;
  };
  BOOST_TEST((same(0, 0, last, 1) && same(1, 1, 0, 70) && same(71, 2, last, 1)));
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
  using enum inlay::TensorRole;
  BOOST_TEST((lora.change(kQuery, 1).down == lora.change(kValue, 1).down && lora.change(kQuery, 0).down == nullptr));
  const auto first_up = [&](std::size_t layer, inlay::TensorRole role) { return lora.change(role, layer).up[0]; };
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

BOOST_AUTO_TEST_CASE(MatricesThatNoAdapterChangesAreRefused) {
  const auto expect = [](const ModelConfig& config, LoraTarget target, ErrorCode code, std::string_view words) {
    const Bound bound(config, RandomLora({std::move(target)}, 2, 1.0f, 1, 0.3f, std::string(inlay::Name(config.architecture))));
    BOOST_REQUIRE(!bound.lora->has_value());
    BOOST_TEST(inlay::Name(bound.lora->error().code) == inlay::Name(code), bound.lora->error().Message().view());
    BOOST_TEST(bound.lora->error().detail.view().find(words) != std::string_view::npos, bound.lora->error().Message().view());
  };
  const ModelConfig& three = family::kGemmaThreeN;
  expect(three, {"per_layer_model_proj.weight", three.layers * std::size_t{three.layer_input_dim}, three.dim}, ErrorCode::kUnsupported, "merge it");
  expect(three, {"altup_proj.weight", three.dim, three.dim, three.streams.count - 1u}, ErrorCode::kUnsupported, "merge it");
  expect(three, {"output.weight", three.vocab, three.dim}, ErrorCode::kMismatch, "not part of a gemma3n");
  const ModelConfig& experts = kExpertConfig;
  expect(experts, {"blk.0.ffn_up_exps.weight", experts.ffn_dim, experts.dim, experts.experts - 1u}, ErrorCode::kMismatch, "[96, 64], 4 of them; the model's is [96, 64], 5");
  expect(experts, {"blk.0.ffn_up_exps.weight", experts.ffn_dim, experts.dim}, ErrorCode::kMismatch, "1 of them");
  expect(experts, {"blk.0.ffn_up.weight", experts.ffn_dim, experts.dim}, ErrorCode::kMismatch, "not part");
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
  expect(RandomLora({{"blk.0.attn_q.weight", 97, dim}}, 2, 1.0f, 1), ErrorCode::kMismatch, "[97, 96], 1 of them; the model's is [96, 96]");
  expect(RandomLora({{"blk.0.ffn_down.weight", ffn, dim}}, 2, 1.0f, 1), ErrorCode::kMismatch, "the model's is [96, 160]");
  expect(RandomLora({{"token_embd.weight", 99, dim}}, 2, 1.0f, 1), ErrorCode::kMismatch, "[99, 96], 1 of them; the model's is [100, 96]");
  FileContents standing = RandomLora({{"output.weight", 100, dim}}, 2, 1.0f, 1);
  for (FileTensor& tensor : standing.tensors) tensor.name.replace(0, 6, "token_embd");
  expect(standing, ErrorCode::kMismatch, "rank");
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
  BOOST_TEST(with == without + inlay::ArenaBytes<float>(4 * 8 * 3));
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
