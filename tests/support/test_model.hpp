// Models behind one type that is not a template, so that the kernels of AnyModel and of the static test models are
// compiled in one file each (tests/support/models/) however many test files use them. Session and Generation take it as they
// take the library's own model types.
#ifndef INLAY_TESTS_SUPPORT_TEST_MODEL_HPP_
#define INLAY_TESTS_SUPPORT_TEST_MODEL_HPP_

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "inlay/config/known_models.hpp"
#include "inlay/core/owned_buffer.hpp"
#include "inlay/model/model.hpp"
#include "inlay/weights/pack.hpp"
#include "inlay/weights/packed_file.hpp"
#include "inlay/weights/weight_source.hpp"
#include "tests/support/random_model.hpp"

namespace inlay_test {

class TestModel {
 public:
  using FormatList = inlay::AllFormats;  // more than some have: for code that asks a tensor for its type
  virtual ~TestModel() = default;
  virtual const inlay::ModelConfig& config() const = 0;
  virtual inlay::Result<inlay::MemoryPlan> PlanFor(const inlay::SessionOptions& options) const = 0;
  virtual inlay::Result<inlay::SequenceCache> NewCache(const inlay::SessionOptions& options, inlay::Arena& arena) const = 0;
  virtual inlay::Result<inlay::Workspace> NewWorkspace(const inlay::SessionOptions& options, inlay::Arena& arena) const = 0;
  virtual inlay::Result<inlay::LogitsView> Forward(std::span<const inlay::SequenceInput> sequences,
                                                   inlay::Workspace& workspace, inlay::ExecutorRef executor) const = 0;
  virtual inlay::ModelIdentity identity() const { return inlay::IdentityOf(config(), {}); }
  virtual inlay::Result<inlay::HiddenView> Embed(std::span<const inlay::SequenceInput>, inlay::Workspace&,
                                                 inlay::ExecutorRef) const {
    return inlay::Fail(inlay::ErrorCode::kUnsupported, "embed", "this test model has no hidden states");
  }
  virtual inlay::ModelWeights weights() const { return {}; }
};

// What BasicModel::Create takes.
struct ModelParts {
  inlay::ModelConfig config;
  inlay::TensorTypes types;
  std::span<const std::byte> packed;
  std::span<inlay::LayerWeights> table;
};
using MakeModel = inlay::Result<std::unique_ptr<TestModel>> (*)(const ModelParts&);

template <class ModelType>
class TestModelOf final : public TestModel {
 public:
  static inlay::Result<std::unique_ptr<TestModel>> Make(const ModelParts& parts) {
    INLAY_ASSIGN_OR_RETURN(ModelType model, ModelType::Create(parts.config, parts.types, parts.packed, parts.table));
    return std::unique_ptr<TestModel>(new TestModelOf(std::move(model)));
  }
  const inlay::ModelConfig& config() const override { return model_.config(); }
  inlay::Result<inlay::MemoryPlan> PlanFor(const inlay::SessionOptions& options) const override {
    return model_.PlanFor(options);
  }
  inlay::Result<inlay::SequenceCache> NewCache(const inlay::SessionOptions& options, inlay::Arena& arena) const override {
    return model_.NewCache(options, arena);
  }
  inlay::Result<inlay::Workspace> NewWorkspace(const inlay::SessionOptions& options, inlay::Arena& arena) const override {
    return model_.NewWorkspace(options, arena);
  }
  inlay::ModelIdentity identity() const override { return model_.identity(); }
  inlay::Result<inlay::HiddenView> Embed(std::span<const inlay::SequenceInput> sequences, inlay::Workspace& workspace,
                                         inlay::ExecutorRef executor) const override {
    return model_.Embed(sequences, workspace, executor);
  }
  inlay::Result<inlay::LogitsView> Forward(std::span<const inlay::SequenceInput> sequences, inlay::Workspace& workspace,
                                           inlay::ExecutorRef executor) const override {
    return model_.Forward(sequences, workspace, executor);
  }
  inlay::ModelWeights weights() const override { return model_.weights(); }
  ModelType& model() { return model_; }

 private:
  explicit TestModelOf(ModelType model) : model_(std::move(model)) {}
  ModelType model_;
};

// --- compiled in tests/support/models/ ---

inlay::Result<std::unique_ptr<TestModel>> MakeAnyModel(const ModelParts& parts);

// AnyModel as a value with the library's Create, for templates that make their model themselves.
class AnyTestModel {
 public:
  static inlay::Result<AnyTestModel> Create(const inlay::ModelConfig& config, inlay::TensorTypes types,
                                            std::span<const std::byte> packed, std::span<inlay::LayerWeights> table = {}) {
    INLAY_ASSIGN_OR_RETURN(std::shared_ptr<TestModel> model, MakeAnyModel({config, types, packed, table}));
    return AnyTestModel(std::move(model));
  }
  const TestModel& operator*() const { return *model_; }

  const inlay::ModelConfig& config() const { return model_->config(); }
  inlay::Result<inlay::MemoryPlan> PlanFor(const inlay::SessionOptions& options) const { return model_->PlanFor(options); }
  inlay::Result<inlay::SequenceCache> NewCache(const inlay::SessionOptions& options, inlay::Arena& arena) const {
    return model_->NewCache(options, arena);
  }
  inlay::Result<inlay::Workspace> NewWorkspace(const inlay::SessionOptions& options, inlay::Arena& arena) const {
    return model_->NewWorkspace(options, arena);
  }
  inlay::Result<inlay::LogitsView> Forward(std::span<const inlay::SequenceInput> sequences, inlay::Workspace& workspace,
                                           inlay::ExecutorRef executor) const {
    return model_->Forward(sequences, workspace, executor);
  }

 private:
  explicit AnyTestModel(std::shared_ptr<TestModel> model) : model_(std::move(model)) {}
  std::shared_ptr<TestModel> model_;
};

// Shapes of the static test models. Narrow; wide enough for the K formats' blocks; no dimension a multiple of anything.
inline constexpr inlay::ModelConfig kNarrowConfig = inlay::kStories260K;
inline constexpr inlay::ModelConfig kOddConfig{.dim = 36, .layers = 2, .heads = 6, .kv_heads = 3, .head_dim = 10,
                                               .ffn_dim = 50, .vocab = 77, .context = 700, .rope_dim = 6,
                                               .rope_base = 500.0f, .norm_epsilon = 1e-3f};
inline constexpr inlay::ModelConfig kBlockConfig{.dim = 96, .layers = 2, .heads = 6, .kv_heads = 2, .head_dim = 16,
                                                 .ffn_dim = 160, .vocab = 100, .context = 700, .rope_dim = 16};
inline constexpr inlay::ModelConfig kSuperBlockConfig{.dim = 256, .layers = 2, .heads = 4, .kv_heads = 2, .head_dim = 64,
                                                      .ffn_dim = 512, .vocab = 130, .context = 700, .rope_dim = 64,
                                                      .rope_scaling = inlay::RopeScaling::kFactors,
                                                      .tied_embeddings = true};
inline constexpr inlay::ModelConfig kExpertConfig{.dim = 64, .layers = 2, .heads = 4, .kv_heads = 1, .head_dim = 16,
                                                  .ffn_dim = 96, .vocab = 90, .context = 700, .rope_dim = 16,
                                                  .rope_scale = 2.5f, .rope_scaling = inlay::RopeScaling::kLinear,
                                                  .window = 37, .experts = 5, .experts_per_token = 2};

struct StaticModelEntry {
  const inlay::ModelConfig* config;
  std::vector<inlay::WeightType> formats;
  MakeModel make;
  inlay::MemoryPlan (*plan)(const inlay::SessionOptions&);  // with every matrix in formats[0]
};
std::vector<StaticModelEntry> StaticModels();
// Of the families whose layers keep a state or attend to latents; shapes of hybrid_models.hpp.
std::vector<StaticModelEntry> StaticHybrids();

// kOddConfig in F32 with caches of F16 only.
inlay::Result<std::unique_ptr<TestModel>> MakeHalfCacheModel(const ModelParts& parts);

// --- opening ---

// Makes an error an exception: for set-up whose failure is not what a test is about.
template <class T>
T Value(inlay::Result<T> result) {
  if (!result) throw std::runtime_error(result.error().Message().c_str());
  if constexpr (!std::is_void_v<T>) return *std::move(result);
}

// A GGUF file in memory, plain or packed, up to what BasicModel::Create needs: the steps a program without files takes.
class OpenedFile {
 public:
  static inlay::Result<std::unique_ptr<OpenedFile>> Open(AlignedBytes bytes, bool check_finite = false) {
    auto opened = std::make_unique<OpenedFile>();
    INLAY_CHECK_OK(opened->Read(std::move(bytes), check_finite));
    return opened;
  }
  // As a model of this configuration, whatever the file's keys say: for features that no family's keys name.
  static inlay::Result<std::unique_ptr<OpenedFile>> OpenAs(const inlay::ModelConfig& config, AlignedBytes bytes) {
    auto opened = std::make_unique<OpenedFile>();
    INLAY_CHECK_OK(inlay::Validate(config));
    opened->given_ = config;
    INLAY_CHECK_OK(opened->Read(std::move(bytes), false));
    return opened;
  }

  ModelParts parts() { return {config_, types_, packed_, layers_}; }
  const inlay::ModelConfig& config() const { return config_; }
  inlay::TensorTypes types() const { return types_; }
  std::span<const std::byte> packed() const { return packed_; }
  const inlay::GgufFile& gguf() const { return *gguf_; }
  const AlignedBytes& bytes() const { return bytes_; }

  // The same model as a packed file.
  AlignedBytes WritePacked() const {
    AlignedBytes out;
    auto sink = [&](std::span<const std::byte> bytes) -> inlay::Result<void> {
      out.insert(out.end(), bytes.begin(), bytes.end());
      return {};
    };
    auto put = [&](inlay::GgufWriter& writer) { return inlay::CopyMetadata(*gguf_, writer); };
    Value(inlay::WritePackedFile(config_, types_, packed_, {inlay::CopiedMetadataCount(*gguf_), put}, sink));
    return out;
  }

 private:
  inlay::Result<void> Read(AlignedBytes bytes, bool check_finite) {
    bytes_ = std::move(bytes);
    index_.resize(inlay::GgufFile::IndexBytes(bytes_));
    INLAY_ASSIGN_OR_RETURN(inlay::Arena arena, inlay::Arena::Create(index_));
    INLAY_ASSIGN_OR_RETURN(gguf_, inlay::GgufFile::Open(bytes_, arena));
    if (inlay::PackedFile::IsPacked(*gguf_)) {
      INLAY_ASSIGN_OR_RETURN(const inlay::PackedFile file, inlay::PackedFile::Open(*gguf_));
      config_ = file.config();
      types_ = file.types();
      packed_ = file.weights();
    } else {
      if (given_) {
        config_ = *given_;
      } else {
        INLAY_ASSIGN_OR_RETURN(config_, inlay::ReadConfig(*gguf_));
      }
      std::vector<inlay::SourceTensor> sources(inlay::TensorCount(config_));
      INLAY_CHECK_OK(inlay::BindSource(config_, *gguf_, sources));
      own_types_.resize(sources.size());
      inlay::ListTypes(sources, own_types_);
      types_ = own_types_;
      own_packed_.resize(inlay::PackedWeightsBytes(config_, types_));
      inlay::SerialExecutor serial;
      INLAY_CHECK_OK(inlay::PackWeights(config_, sources, check_finite, own_packed_, serial,
                                        [](std::size_t, std::size_t) { return true; }));
      packed_ = own_packed_;
    }
    layers_.resize(config_.layers);
    return {};
  }

  AlignedBytes bytes_, index_, own_packed_;
  std::optional<inlay::GgufFile> gguf_;
  std::optional<inlay::ModelConfig> given_;
  inlay::ModelConfig config_;
  std::vector<inlay::WeightType> own_types_;
  inlay::TensorTypes types_;
  std::span<const std::byte> packed_;
  std::vector<inlay::LayerWeights> layers_;
};

// A model that owns everything it needs.
struct OpenedModel {
  std::unique_ptr<OpenedFile> file;
  std::unique_ptr<TestModel> model;

  const TestModel& operator*() const { return *model; }
  const TestModel* operator->() const { return model.get(); }
};
inline OpenedModel OpenModel(AlignedBytes bytes, MakeModel make = MakeAnyModel) {
  OpenedModel opened;
  opened.file = Value(OpenedFile::Open(std::move(bytes)));
  opened.model = Value(make(opened.file->parts()));
  return opened;
}
inline OpenedModel OpenModel(const FileContents& contents, MakeModel make = MakeAnyModel) {
  return OpenModel(WriteGguf(contents), make);
}

inline std::vector<inlay::TokenId> RandomTokens(std::size_t count, std::size_t vocab, std::uint64_t seed) {
  Random random(seed);
  std::vector<inlay::TokenId> tokens(count);
  for (inlay::TokenId& token : tokens) token = static_cast<inlay::TokenId>(random.Below(vocab));
  return tokens;
}

// Logits after every token, [tokens * vocab], all tokens in passes of `batch`.
// `context`: positions of the cache; 0: as many as there are tokens.
inline std::vector<float> AllLogits(const TestModel& model, std::span<const inlay::TokenId> tokens, inlay::KvType kv,
                                    inlay::ExecutorRef executor, std::size_t batch = 4096, std::size_t context = 0,
                                    const inlay::Adapters* adapters = nullptr) {
  inlay::SessionOptions options;
  options.context = std::max(context, tokens.size());
  options.batch = std::min(batch, tokens.size());
  options.outputs = options.batch;
  options.kv = kv;
  options.adapter_rank = adapters == nullptr ? 0 : adapters->rank();
  AlignedBytes memory(Value(model.PlanFor(options)).session());
  inlay::Arena arena = Value(inlay::Arena::Create(memory));
  inlay::SequenceCache cache = Value(model.NewCache(options, arena));
  inlay::Workspace workspace = Value(model.NewWorkspace(options, arena));
  std::vector<float> out;
  for (std::size_t at = 0; at < tokens.size(); at += options.batch) {
    const std::size_t count = std::min(options.batch, tokens.size() - at);
    const inlay::SequenceInput input{&cache, tokens.subspan(at, count), inlay::Outputs::kAll, adapters};
    const inlay::LogitsView logits = Value(model.Forward({&input, 1}, workspace, executor));
    out.insert(out.end(), logits.data, logits.data + logits.rows * logits.vocab);
  }
  return out;
}

}  // namespace inlay_test

#endif  // INLAY_TESTS_SUPPORT_TEST_MODEL_HPP_
