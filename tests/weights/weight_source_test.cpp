// From files to roles: every way in which a file can contradict the model that it says it is.
#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "inlay/files/gguf.hpp"
#include "inlay/files/llama2c.hpp"
#include "inlay/weights/weight_source.hpp"
#include "tests/support/packed_model.hpp"
#include "tests/support/random_model.hpp"

namespace {

using namespace inlay_test;
using inlay::Error;
using inlay::ErrorCode;
using inlay::ModelConfig;

constexpr ModelConfig kConfig{.dim = 32, .layers = 2, .heads = 4, .kv_heads = 2, .head_dim = 8, .ffn_dim = 64, .vocab = 40,
                              .context = 128, .rope_dim = 8};

FileContents Good() { return RandomModel({.config = kConfig}); }

// Opens, reads the configuration and binds the tensors.
class Bound {
 public:
  explicit Bound(const FileContents& contents) : bytes_(WriteGguf(contents)), index_(inlay::GgufFile::IndexBytes(bytes_)) {
    result_ = Bind();
  }
  const inlay::Result<void>& result() const { return result_; }
  const ModelConfig& config() const { return config_; }
  const std::vector<inlay::SourceTensor>& table() const { return table_; }
  const AlignedBytes& bytes() const { return bytes_; }

 private:
  inlay::Result<void> Bind() {
    INLAY_ASSIGN_OR_RETURN(inlay::Arena arena, inlay::Arena::Create(index_));
    INLAY_ASSIGN_OR_RETURN(const inlay::GgufFile file, inlay::GgufFile::Open(bytes_, arena));
    INLAY_ASSIGN_OR_RETURN(config_, inlay::ReadConfig(file));
    table_.resize(inlay::TensorCount(config_));
    return inlay::BindSource(config_, file, table_);
  }

  AlignedBytes bytes_, index_;
  ModelConfig config_;
  std::vector<inlay::SourceTensor> table_;
  inlay::Result<void> result_;
};

Error ErrorOf(const FileContents& contents) {
  const Bound bound(contents);
  BOOST_REQUIRE(!bound.result());
  return bound.result().error();
}

void ExpectError(const FileContents& contents, ErrorCode code, std::string_view field, std::string_view words = "") {
  const Error error = ErrorOf(contents);
  BOOST_TEST_CONTEXT(error.Message().view()) {
    BOOST_TEST((error.code == code));
    BOOST_TEST(error.field.view() == field);
    BOOST_TEST(error.detail.view().find(words) != std::string_view::npos);
  }
}

template <class T>
FileContents WithKey(std::string_view key, T value) {
  FileContents contents = Good();
  contents.Set(key, value);
  return contents;
}

BOOST_AUTO_TEST_SUITE(weights_weight_source)

BOOST_AUTO_TEST_CASE(every_tensor_is_bound) {
  for (const bool tied : {false, true}) {
    ModelConfig config = kConfig;
    config.tied_embeddings = tied;
    config.experts = 3;
    config.experts_per_token = 2;
    config.rope_scaling = inlay::RopeScaling::kFactors;
    config.window = 50;
    const FileContents contents = RandomModel({.config = config, .type = AllOf(inlay::WeightType::kQ8_0)});
    const Bound bound(contents);
    BOOST_REQUIRE(bound.result());
    BOOST_TEST((bound.config() == config));
    for (std::size_t i = 0; i < bound.table().size(); ++i) {
      const inlay::TensorId id = inlay::TensorAt(i);
      BOOST_TEST((bound.table()[i].data != nullptr) == inlay::HasRole(config, id));
      if (bound.table()[i].data == nullptr) continue;
      for (const FileTensor& tensor : contents.tensors) {
        if (tensor.name != inlay::TensorName(config, id).view()) continue;
        BOOST_TEST((bound.table()[i].type == tensor.type()));
        BOOST_TEST(std::equal(tensor.data.begin(), tensor.data.end(), bound.table()[i].data));
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(defaults) {
  FileContents contents = Good();
  for (const char* key : {"llama.attention.key_length", "llama.attention.value_length", "llama.rope.dimension_count",
                          "llama.rope.freq_base", "llama.attention.layer_norm_rms_epsilon"}) {
    contents.Erase(key);
  }
  const Bound bound(contents);
  BOOST_REQUIRE(bound.result());
  BOOST_TEST((bound.config() == kConfig));
  // Without kv heads, as many as query heads: then the tensors no longer fit.
  contents.Erase("llama.attention.head_count_kv");
  ExpectError(contents, ErrorCode::kMismatch, "tensor blk.0.attn_k.weight", "has shape [32, 16, 1]");
}

BOOST_AUTO_TEST_CASE(missing_and_strange_keys) {
  for (const char* key : {"general.architecture", "llama.embedding_length", "llama.block_count", "llama.context_length",
                          "llama.attention.head_count", "llama.feed_forward_length"}) {
    FileContents contents = Good();
    contents.Erase(key);
    ExpectError(contents, ErrorCode::kMissing, key);
    contents.Set(key, std::vector<std::int32_t>{1, 2});
    if (std::string_view(key) == "general.architecture") {
      ExpectError(contents, ErrorCode::kMismatch, key);
      continue;
    }
    // Another number for each layer: some families have that, this one is not run so.
    if (std::string_view(key) != "llama.feed_forward_length") {
      ExpectError(contents, ErrorCode::kUnsupported, key, "is 1 in layer 0 and 2 in layer 1");
    }
    contents.Set(key, std::vector<float>{1.0f, 2.0f});
    ExpectError(contents, ErrorCode::kMismatch, key);
    contents.Set(key, std::vector<std::int32_t>{});
    ExpectError(contents, ErrorCode::kMismatch, key);
    contents.Set(key, std::string("32"));
    ExpectError(contents, ErrorCode::kMismatch, key);
    contents.Set(key, -1);
    BOOST_TEST(ErrorOf(contents).field.view() == key);
    contents.Set(key, std::uint64_t{1} << 32);
    ExpectError(contents, ErrorCode::kTooLarge, key);
    contents.Set(key, std::numeric_limits<std::uint64_t>::max());
    ExpectError(contents, ErrorCode::kTooLarge, key);
    // Other integer types of the same value are fine.
    contents.Set(key, std::uint64_t{32});
  }
  ExpectError(WithKey("general.architecture", std::string("hydra")), ErrorCode::kUnsupported, "general.architecture", "hydra");
  ExpectError(WithKey("general.architecture", std::string("gpt2")), ErrorCode::kMissing, "gpt2.embedding_length");
  ExpectError(WithKey("llama.attention.value_length", 16u), ErrorCode::kMismatch, "tensor blk.0.attn_v.weight");
  ExpectError(WithKey("llama.rope.scaling.type", std::string("ntk")), ErrorCode::kUnsupported, "llama.rope.scaling.type",
              "ntk");
  ExpectError(WithKey("llama.rope.scaling.type", std::string("longrope")), ErrorCode::kMissing, "rope_factors_long.weight");
  ExpectError(WithKey("llama.pooling_type", 5u), ErrorCode::kUnsupported, "llama.pooling_type", "is 5");
}

BOOST_AUTO_TEST_CASE(hyperparameters_out_of_range) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInfinity = std::numeric_limits<float>::infinity();
  for (const char* key : {"llama.embedding_length", "llama.block_count", "llama.attention.head_count",
                          "llama.attention.head_count_kv", "llama.attention.key_length", "llama.feed_forward_length",
                          "llama.context_length", "llama.rope.dimension_count"}) {
    for (const std::uint32_t value : {0u, 0xFFFFFFFFu}) {
      FileContents contents = WithKey(key, value);
      if (std::string_view(key) == "llama.attention.key_length") contents.Set("llama.attention.value_length", value);
      if (std::string_view(key) == "llama.rope.dimension_count" && value == 0) {
        BOOST_TEST(Bound(contents).result().has_value());  // no rotation at all
        continue;
      }
      const Error error = ErrorOf(contents);
      BOOST_TEST((error.code == ErrorCode::kMismatch), key << " = " << value << ": " << error.Message().view());
      BOOST_TEST(!error.field.empty());
    }
  }
  for (const float value : {0.0f, -1.0f, kNan, kInfinity, -kInfinity}) {
    ExpectError(WithKey("llama.rope.freq_base", value), ErrorCode::kMismatch, "rope_base");
    if (value == 0.0f) continue;
    ExpectError(WithKey("llama.attention.layer_norm_rms_epsilon", value), ErrorCode::kMismatch, "norm_epsilon");
  }
  for (const float value : {-1.0f, kNan, kInfinity}) {
    FileContents contents = WithKey("llama.rope.scaling.type", std::string("linear"));
    contents.Set("llama.rope.scaling.factor", value);
    ExpectError(contents, ErrorCode::kMismatch, "rope_scale");
  }
  ExpectError(WithKey("llama.expert_used_count", 2u), ErrorCode::kMismatch, "experts_per_token");
  ExpectError(WithKey("llama.expert_count", 0xFFFFFFFFu), ErrorCode::kMismatch, "experts");
}

BOOST_AUTO_TEST_CASE(tensors_that_are_missing_or_too_many) {
  for (const FileTensor& tensor : Good().tensors) {
    FileContents contents = Good();
    contents.Erase(tensor.name);
    if (tensor.name == "output.weight") {
      BOOST_TEST(Bound(contents).config().tied_embeddings);
      continue;
    }
    const std::string field = tensor.name == "token_embd.weight" ? tensor.name : "tensor " + tensor.name;
    ExpectError(contents, ErrorCode::kMissing, field, tensor.name == "token_embd.weight" ? "" : "; a llama model with 2 layers has it, of [");
  }
  for (const char* name : {"blk.2.attn_norm.weight", "blk.1.attn_q.bias", "unknown.weight", "blk.0.ffn_gate_exps.weight"}) {
    FileContents contents = Good();
    contents.tensors.push_back(contents.tensor("blk.0.attn_norm.weight"));
    contents.tensors.back().name = name;
    ExpectError(contents, ErrorCode::kMismatch, "tensor " + std::string(name), "is not part of");
  }
  FileContents contents = Good();
  contents.tensors.push_back(contents.tensor("blk.1.attn_q.weight"));
  const Error error = ErrorOf(contents);
  BOOST_TEST((error.code == ErrorCode::kBadFile));
  BOOST_TEST(error.field.view().find("blk.1.attn_q.weight") != std::string_view::npos);
}

BOOST_AUTO_TEST_CASE(tensors_of_another_shape) {
  for (const FileTensor& tensor : Good().tensors) {
    const bool embedding = tensor.name == "token_embd.weight";
    const auto expect = [&](std::vector<std::uint64_t> dims) {
      FileContents contents = Good();
      FileTensor& changed = contents.tensor(tensor.name);
      std::size_t count = 1;
      for (const std::uint64_t dim : dims) count *= dim;
      changed.dims = std::move(dims);
      changed.data.assign(count * 4, std::byte{0});
      const Error error = ErrorOf(contents);
      BOOST_TEST_CONTEXT(tensor.name << ": " << error.Message().view()) {
        BOOST_TEST((error.code == ErrorCode::kMismatch));
        BOOST_TEST(error.field.view().find(embedding ? "" : tensor.name) != std::string_view::npos);
      }
    };
    std::vector<std::uint64_t> dims = tensor.dims;
    dims[0] += 1;
    expect(dims);
    dims = tensor.dims;
    dims.push_back(2);
    expect(dims);
    if (tensor.dims.size() < 2) continue;
    if (!embedding) {  // there the rows are the vocabulary, and another tensor disagrees
      dims = tensor.dims;
      dims[1] -= 1;
      expect(dims);
    }
    if (tensor.dims[0] != tensor.dims[1]) expect({tensor.dims[1], tensor.dims[0]});
    expect({tensor.dims[0] * tensor.dims[1]});
  }
}

BOOST_AUTO_TEST_CASE(tensors_of_another_type) {
  FileContents contents = Good();
  FileTensor& tensor = contents.tensor("blk.1.attn_v.weight");
  tensor.type_id = 24;  // I8
  tensor.data.resize(tensor.data.size() / 4);
  ExpectError(contents, ErrorCode::kUnsupported, "tensor blk.1.attn_v.weight", "I8");
  tensor.type_id = 16;  // IQ2_XXS: known to GGUF, not to this library
  ExpectError(contents, ErrorCode::kUnsupported, "tensor blk.1.attn_v.weight", "IQ2_XXS");
  tensor.type_id = 12345;
  ExpectError(contents, ErrorCode::kUnsupported, "tensor blk.1.attn_v.weight", "12345");
}

// --- what families' files say beyond numbers ---

constexpr ModelConfig kWindows{.architecture = inlay::Architecture::kGemma2, .dim = 64, .layers = 6, .heads = 4,
                               .kv_heads = 2, .head_dim = 16, .ffn_dim = 32, .vocab = 40, .context = 128, .rope_dim = 16,
                               .norm_epsilon = 1e-6f, .tied_embeddings = true, .window = 10,
                               .rope = {.style = inlay::RopeStyle::kHalves},
                               .norm = {.placement = inlay::NormPlacement::kSandwich},
                               .attention = {.global = inlay::LayerPattern::LastOf(2), .softcap = 50.0f},
                               .activation = inlay::Activation::kGelu, .embedding_scale = 8.0f, .logit_softcap = 30.0f};

BOOST_AUTO_TEST_CASE(window_patterns) {
  const char* key = "gemma2.attention.sliding_window_pattern";
  const auto global = [&](auto value) {
    FileContents contents = RandomModel({.config = kWindows});
    contents.Set(key, value);
    const Bound bound(contents);
    BOOST_REQUIRE(bound.result());
    std::string layers;
    for (std::size_t l = 0; l < 6; ++l) layers += bound.config().IsLocal(l) ? 'l' : 'g';
    return layers;
  };
  BOOST_TEST(Bound(RandomModel({.config = kWindows})).config().IsLocal(0));
  BOOST_TEST(global(2u) == "lglglg");
  BOOST_TEST(global(3u) == "llgllg");
  BOOST_TEST(global(1u) == "gggggg");
  BOOST_TEST(global(0u) == "llllll");
  // A list says which layers have a window; the shortest pattern that says the same is kept.
  BOOST_TEST(global(std::vector<std::int32_t>{1, 0, 1, 0, 1, 0}) == "lglglg");
  BOOST_TEST(global(std::vector<std::int32_t>{0, 1, 1, 1, 0, 0}) == "glllgg");
  FileContents contents = RandomModel({.config = kWindows});
  contents.Set(key, std::vector<std::int32_t>{1, 0, 1, 0, 1, 0});
  BOOST_TEST((Bound(contents).config() == kWindows));
  contents.Set(key, std::vector<std::int32_t>{1, 0, 1});
  ExpectError(contents, ErrorCode::kMismatch, key, "3 entries for 6 layers");
  contents.Set(key, std::vector<float>(6, 1.0f));
  ExpectError(contents, ErrorCode::kMismatch, key);
  contents.Set(key, 129u);
  ExpectError(contents, ErrorCode::kUnsupported, key, "is 129");
  // Without a window, all layers see everything, whatever the pattern.
  contents.Set(key, 3u);
  contents.Set("gemma2.attention.sliding_window", 0u);
  const Bound none(contents);
  BOOST_TEST(none.config().window == 0u);
  BOOST_TEST((none.config().attention.global == inlay::LayerPattern{}));
}

BOOST_AUTO_TEST_CASE(routers) {
  ModelConfig config = kConfig;
  config.experts = 4;
  config.experts_per_token = 2;
  const auto router = [&](std::uint32_t function, bool normalized) {
    FileContents contents = RandomModel({.config = config});
    contents.Set("llama.expert_gating_func", function);
    contents.Set("llama.expert_weights_norm", normalized);
    const Bound bound(contents);
    BOOST_REQUIRE(bound.result());
    return bound.config().expert;
  };
  BOOST_TEST((router(1, true).router == inlay::Router::kSoftmaxOfChosen));
  BOOST_TEST((router(1, false).router == inlay::Router::kSoftmaxOfAll));
  BOOST_TEST((router(2, false) == inlay::ExpertConfig{.router = inlay::Router::kSigmoid}));
  BOOST_TEST((router(2, true) == inlay::ExpertConfig{.router = inlay::Router::kSigmoid, .normalized = true}));
  BOOST_TEST((router(3, false).router == inlay::Router::kSoftmaxOfChosen));
  FileContents contents = RandomModel({.config = config});
  contents.Set("llama.expert_gating_func", 7u);
  ExpectError(contents, ErrorCode::kUnsupported, "llama.expert_gating_func", "is 7");
}

// Numbers per layer that are all the same are one number.
BOOST_AUTO_TEST_CASE(uniform_arrays) {
  FileContents contents = WithKey("llama.attention.head_count_kv", std::vector<std::int32_t>{2, 2});
  contents.Set("llama.feed_forward_length", std::vector<std::int32_t>{64, 64});
  BOOST_TEST((Bound(contents).config() == kConfig));
  // Heads of keys and values may differ between layers with a window and others only.
  contents.Set("llama.attention.head_count_kv", std::vector<std::int32_t>{2, 1});
  ExpectError(contents, ErrorCode::kUnsupported, "llama.attention.head_count_kv", "is 2 in layer 0 and 1");
}

// Networks of two widths, but not of three.
BOOST_AUTO_TEST_CASE(two_widths_of_networks) {
  ModelConfig config = kConfig;
  config.layers = 3;
  config.wide_layers = inlay::LayerPattern{3}.Add(1).Add(2);
  config.wide_ffn_dim = 32;
  FileContents contents = RandomModel({.config = config});
  BOOST_TEST((Bound(contents).config() == config));
  contents.Set("llama.feed_forward_length", std::vector<std::int32_t>{64, 32, 16});
  ExpectError(contents, ErrorCode::kUnsupported, "llama.feed_forward_length", "is 16 in layer 2 and 64");
  contents.Set("llama.feed_forward_length", std::vector<std::int32_t>{64, 32});
  ExpectError(contents, ErrorCode::kMismatch, "llama.feed_forward_length", "2 entries for 3 layers");
}

// Keys and values that nobody reads, as their layer shares another's, are left out, whether a file has them or not.
BOOST_AUTO_TEST_CASE(keys_of_layers_that_share) {
  ModelConfig config = kConfig;
  config.layers = 3;
  config.attention.shared_layers = 1;
  FileContents contents = RandomModel({.config = config});
  BOOST_TEST((Bound(contents).config() == config));
  contents.tensors.push_back(contents.tensor("blk.1.attn_k.weight"));
  contents.tensors.back().name = "blk.2.attn_k.weight";
  const Bound bound(contents);
  BOOST_REQUIRE(bound.result());
  BOOST_TEST((bound.config() == config));
  contents.tensors.back().name = "blk.2.attn_k.bias";
  ExpectError(contents, ErrorCode::kMismatch, "tensor blk.2.attn_k.bias", "is not part");
  // None are left for the last layer.
  contents.tensors.pop_back();
  contents.Set("llama.attention.shared_kv_layers", 3u);
  ExpectError(contents, ErrorCode::kMismatch, "attention.shared_layers");
}

// Gate and up of all experts in one tensor: the rows of one expert's gate, then of its up, expert by expert.
BOOST_AUTO_TEST_CASE(fused_experts) {
  ModelConfig config = kConfig;
  config.experts = 3;
  config.experts_per_token = 2;
  config.expert.ffn_dim = 24;
  FileContents contents = RandomModel({.config = config});
  for (std::uint32_t l = 0; l < config.layers; ++l) {
    const std::string block = "blk." + std::to_string(l) + ".";
    const FileTensor gate = contents.tensor(block + "ffn_gate_exps.weight"), up = contents.tensor(block + "ffn_up_exps.weight");
    FileTensor both = gate;
    both.name = block + "ffn_gate_up_exps.weight";
    both.dims[1] *= 2;
    both.data.clear();
    const std::ptrdiff_t bytes = static_cast<std::ptrdiff_t>(gate.data.size() / config.experts);
    for (std::ptrdiff_t e = 0; e < static_cast<std::ptrdiff_t>(config.experts); ++e) {
      for (const FileTensor* part : {&gate, &up}) {
        both.data.insert(both.data.end(), part->data.begin() + e * bytes, part->data.begin() + (e + 1) * bytes);
      }
    }
    contents.Erase(gate.name);
    contents.Erase(up.name);
    contents.tensors.push_back(both);
  }
  BOOST_TEST((PackFile(WriteGguf(contents)) == PackFile(WriteGguf(RandomModel({.config = config})))));
}

BOOST_AUTO_TEST_CASE(rope_scaling_keys) {
  // An old key without a type means linear.
  BOOST_TEST((Bound(WithKey("llama.rope.scale_linear", 4.0f)).config().rope_scaling == inlay::RopeScaling::kLinear));
  BOOST_TEST((Bound(WithKey("llama.rope.scaling.factor", 1.0f)).config() == kConfig));
  FileContents contents = WithKey("llama.rope.scaling.factor", 4.0f);
  contents.Set("llama.rope.scaling.type", std::string("none"));
  BOOST_TEST((Bound(contents).config() == kConfig));
  // The original context of YaRN is the trained one where a file does not say another.
  contents.Set("llama.rope.scaling.type", std::string("yarn"));
  BOOST_TEST(Bound(contents).config().rope.original_context == 128u);
  FileContents both = contents;
  both.tensors.push_back(both.tensor("blk.0.attn_norm.weight"));
  both.tensors.back().name = "rope_freqs.weight";
  ExpectError(both, ErrorCode::kUnsupported, "llama.rope.scaling.type", "yarn together with rope_freqs.weight");
}

// Queries, keys and values in one tensor: each part is bound where it lies, whatever else the file has.
BOOST_AUTO_TEST_CASE(fused_tensors) {
  constexpr ModelConfig kPhi{.architecture = inlay::Architecture::kPhi3, .dim = 32, .layers = 2, .heads = 4, .kv_heads = 2,
                             .head_dim = 8, .ffn_dim = 64, .vocab = 40, .context = 128, .rope_dim = 8,
                             .rope = {.style = inlay::RopeStyle::kHalves}};
  for (const inlay::WeightType type : {inlay::WeightType::kF32, inlay::WeightType::kQ8_0}) {
    const FileContents contents = RandomModel({.config = kPhi, .type = AllOf(type)});
    const Bound bound(contents);
    BOOST_REQUIRE(bound.result());
    BOOST_TEST((bound.config() == kPhi));
    const auto data = [&](inlay::TensorRole role) { return bound.table()[inlay::TensorIndex({role, 1})].data; };
    const std::size_t row = inlay::RowBytes(type, 32);
    BOOST_TEST(data(inlay::TensorRole::kKey) == data(inlay::TensorRole::kQuery) + 32 * row);
    BOOST_TEST(data(inlay::TensorRole::kValue) == data(inlay::TensorRole::kKey) + 16 * row);
    BOOST_TEST(data(inlay::TensorRole::kUp) == data(inlay::TensorRole::kGate) + 64 * row);
    FileContents twice = contents;
    twice.tensors.push_back(twice.tensor("blk.0.attn_output.weight"));
    twice.tensors.back().name = "blk.0.attn_q.weight";
    ExpectError(twice, ErrorCode::kMismatch, "tensor blk.0.attn_q.weight", "which the file has twice");
    FileContents wrong = contents;
    FileTensor& fused = wrong.tensor("blk.1.attn_qkv.weight");
    fused.dims[1] -= 8;
    fused.data.resize(fused.data.size() - 8 * row);
    ExpectError(wrong, ErrorCode::kMismatch, "tensor blk.1.attn_qkv.weight", "needs [32, 64, 1]");
  }
}

BOOST_AUTO_TEST_CASE(named_activations) {
  const char* key = "llama.hidden_activation";
  BOOST_TEST((Bound(WithKey(key, std::string("silu"))).config() == kConfig));
  BOOST_TEST((Bound(WithKey(key, std::string("gelu"))).config().activation == inlay::Activation::kGelu));
  ExpectError(WithKey(key, std::string("swish_7")), ErrorCode::kUnsupported, key, "swish_7");
  ExpectError(WithKey(key, 1u), ErrorCode::kMismatch, key);
}

BOOST_AUTO_TEST_CASE(granite_without_positions) {
  ModelConfig config = kConfig;
  config.architecture = inlay::Architecture::kGranite;
  FileContents contents = RandomModel({.config = config});
  BOOST_TEST(Bound(contents).config().rope_dim == 8u);
  contents.Set("granite.rope.scaling.finetuned", false);
  BOOST_TEST(Bound(contents).config().rope_dim == 0u);
}

// A llama2.c checkpoint: header, then the tensors as run.c reads them.
AlignedBytes Checkpoint(const ModelConfig& c, bool tied) {
  AlignedBytes bytes;
  const auto append = [&](const void* from, std::size_t size) {
    const std::byte* at = static_cast<const std::byte*>(from);
    bytes.insert(bytes.end(), at, at + size);
  };
  const std::int32_t vocab = static_cast<std::int32_t>(c.vocab);
  for (const std::int32_t value : {static_cast<std::int32_t>(c.dim), static_cast<std::int32_t>(c.ffn_dim),
                                   static_cast<std::int32_t>(c.layers), static_cast<std::int32_t>(c.heads),
                                   static_cast<std::int32_t>(c.kv_heads), tied ? vocab : -vocab,
                                   static_cast<std::int32_t>(c.context)}) {
    append(&value, sizeof(value));
  }
  const std::size_t per_layer = 2 * c.dim + 2 * c.dim * c.dim + 2 * c.dim * c.k_dim() + 3 * c.dim * c.ffn_dim;
  const std::size_t floats = c.vocab * c.dim + c.layers * per_layer + c.dim + c.context * c.head_dim / 2 * 2 +
                             (tied ? 0 : c.vocab * c.dim);
  for (std::size_t i = 0; i < floats; ++i) {
    const float value = static_cast<float>(i);
    append(&value, sizeof(value));
  }
  return bytes;
}

BOOST_AUTO_TEST_CASE(checkpoint) {
  for (const bool tied : {false, true}) {
    const AlignedBytes bytes = Checkpoint(kConfig, tied);
    const auto file = inlay::Llama2cCheckpoint::Open(bytes);
    BOOST_REQUIRE(file);
    const auto config = inlay::ReadConfig(*file);
    BOOST_REQUIRE(config);
    ModelConfig expected = kConfig;
    expected.tied_embeddings = tied;
    BOOST_TEST((*config == expected));
    std::vector<inlay::SourceTensor> table(inlay::TensorCount(*config));
    BOOST_REQUIRE(inlay::BindSource(*config, *file, table));
    // The value at the start of a tensor is its place in the file.
    const auto first = [&](inlay::TensorRole role, std::uint32_t layer = 0) {
      return *reinterpret_cast<const float*>(table[inlay::TensorIndex({role, layer})].data);
    };
    const std::size_t dim = kConfig.dim, kv = kConfig.k_dim(), ffn = kConfig.ffn_dim, layers = kConfig.layers;
    std::size_t at = 0;
    const auto expect = [&](inlay::TensorRole role, std::size_t size, bool per_layer = true) {
      for (std::uint32_t l = 0; l < (per_layer ? layers : 1); ++l) {
        BOOST_TEST(first(role, l) == static_cast<float>(at));
        at += size;
      }
    };
    using enum inlay::TensorRole;
    expect(kTokenEmbedding, kConfig.vocab * dim, false);
    expect(kAttentionNorm, dim);
    expect(kQuery, dim * dim);
    expect(kKey, dim * kv);
    expect(kValue, dim * kv);
    expect(kAttentionOutput, dim * dim);
    expect(kFfnNorm, dim);
    expect(kGate, dim * ffn);
    expect(kDown, dim * ffn);
    expect(kUp, dim * ffn);
    expect(kOutputNorm, dim, false);
    at += kConfig.context * kConfig.head_dim;
    if (!tied) expect(kOutput, kConfig.vocab * dim, false);
    BOOST_TEST(at * 4 + 28 == bytes.size());
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
