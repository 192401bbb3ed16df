// Dynamic dispatch compiles the kernels where they are first included: here.
#if defined(INLAY_CLI_DISPATCH)
#include "inlay/dispatch/model.hpp"
#endif

#include "engine.hpp"

#include <inlay_tiny.hpp>

#include <algorithm>
#include <optional>
#include <utility>

#include "inlay/core/owned_buffer.hpp"
#include "inlay/generate/generation.hpp"
#include "inlay/generate/session.hpp"
#include "inlay/host/encoded_text.hpp"
#include "inlay/host/loaded_model.hpp"
#include "inlay/host/owned_adapter.hpp"
#include "inlay/host/reranker.hpp"
#include "inlay/model/embedding.hpp"
#include "inlay/model/model.hpp"

namespace cli {

using inlay::ErrorCode;
using inlay::Fail;
using inlay::Result;
using inlay::TokenId;
#if defined(INLAY_CLI_DISPATCH)
using Model = inlay::DispatchedAnyModel;
#else
using Model = inlay::AnyModel;
#endif

namespace {

// Forces a level of the processor; "" leaves the best.
Result<void> UseCpu([[maybe_unused]] Model& model, const std::string& name) {
  if (name.empty()) return {};
#if defined(INLAY_CLI_DISPATCH)
  for (const inlay::CpuLevel level : inlay::kCpuLevels) {
    if (inlay::Name(level) == name) return model.forward().Use(level);
  }
  return Fail(ErrorCode::kInvalidArgument, "--cpu", "\"", name, "\"; there are baseline, sse4, avx2 and avx512");
#else
  return Fail(ErrorCode::kUnsupported, "--cpu", "this program was compiled for one processor (INLAY_DYNAMIC_DISPATCH is off)");
#endif
}

}  // namespace

struct Engine::State {
  explicit State(std::size_t thread_count) : threads(thread_count) {}

  inlay::ThreadPool threads;
  std::optional<inlay::LoadedModel<Model>> loaded;
  inlay::OwnedBuffer session_memory;
  std::optional<inlay::SequenceCache> cache;
  std::optional<inlay::Workspace> workspace;
  std::optional<inlay::Session<Model>> session;
  std::optional<inlay::Reranker<Model>> reranker;
  // What every sequence runs with, and what it is made of.
  std::vector<inlay::OwnedLora> loras;
  std::vector<inlay::OwnedControlVector> control_vectors;
  std::vector<inlay::LoraUse> lora_uses;
  std::vector<inlay::ControlUse> control_uses;
  inlay::Adapters adapters;

  Result<void> OpenAdapters(const ModelOptions& options);
};

Result<void> Engine::State::OpenAdapters(const ModelOptions& options) {
  const inlay::ModelConfig& config = loaded->file().config();
  std::vector<float> lora_scales, control_scales;
  for (const std::string& text : options.loras) {
    const ScaledFile file = ParseScaledFile(text);
    INLAY_ASSIGN_OR_RETURN(inlay::OwnedLora lora, inlay::OwnedLora::Open(file.path.c_str(), config));
    loras.push_back(std::move(lora));
    lora_scales.push_back(file.scale);
  }
  for (const std::string& text : options.control_vectors) {
    const ScaledFile file = ParseScaledFile(text);
    INLAY_ASSIGN_OR_RETURN(inlay::OwnedControlVector vector, inlay::OwnedControlVector::Open(file.path.c_str(), config));
    control_vectors.push_back(std::move(vector));
    control_scales.push_back(file.scale);
  }
  for (std::size_t i = 0; i < loras.size(); ++i) lora_uses.push_back({&loras[i].lora(), lora_scales[i]});
  for (std::size_t i = 0; i < control_vectors.size(); ++i) {
    control_uses.push_back({&control_vectors[i].vector(), control_scales[i]});
  }
  adapters = {lora_uses, control_uses};
  return {};
}

Engine::Engine(std::unique_ptr<State> state) : state_(std::move(state)) {}
Engine::Engine(Engine&&) noexcept = default;
Engine::~Engine() = default;

Result<Engine> Engine::Open(const ModelOptions& options) {
  auto state = std::make_unique<State>(ThreadCount(options.threads));
  Progress progress("packing");
  inlay::LoadOptions load;
  load.tokenizer_path = options.tokenizer.c_str();
  load.verify = options.verify;
  if (options.path.empty()) {
    INLAY_ASSIGN_OR_RETURN(state->loaded, inlay::LoadedModel<Model>::Open(inlay_tiny::File(), load, state->threads));
  } else {
    INLAY_ASSIGN_OR_RETURN(state->loaded,
                           inlay::LoadedModel<Model>::Open(options.path.c_str(), load, state->threads, progress));
  }
  INLAY_CHECK_OK(UseCpu(state->loaded->model(), options.cpu));
  INLAY_CHECK_OK(state->OpenAdapters(options));
  return Engine(std::move(state));
}

const inlay::ModelFile& Engine::file() const { return state_->loaded->file(); }
inlay::ThreadPool& Engine::threads() { return state_->threads; }

Result<const inlay::Tokenizer*> Engine::tokenizer() const {
  const inlay::Tokenizer* tokenizer = file().tokenizer();
  if (tokenizer == nullptr) return file().tokenizer_error();
  return tokenizer;
}

Result<std::vector<TokenId>> Engine::Encode(std::string_view text, const inlay::EncodeOptions& options) const {
  INLAY_ASSIGN_OR_RETURN(const inlay::Tokenizer* const vocabulary, tokenizer());
  INLAY_ASSIGN_OR_RETURN(const inlay::EncodedText encoded, inlay::EncodedText::Create(*vocabulary, text, options));
  return std::vector<TokenId>(encoded.tokens().begin(), encoded.tokens().end());
}

Result<inlay::MemoryPlan> Engine::PlanFor(inlay::SessionOptions options) const {
  options.threads = state_->threads.concurrency();
  options.adapter_rank = state_->adapters.rank();
  return state_->loaded->model().PlanFor(options);
}

Result<void> Engine::Start(inlay::SessionOptions options) {
  INLAY_ASSIGN_OR_RETURN(const inlay::MemoryPlan plan, PlanFor(options));
  State& state = *state_;
  options.threads = state.threads.concurrency();
  options.adapter_rank = state.adapters.rank();
  INLAY_ASSIGN_OR_RETURN(state.session_memory, inlay::OwnedBuffer::Create(plan.session(), "session"));
  INLAY_ASSIGN_OR_RETURN(
      state.session, inlay::Session<Model>::Create(state.loaded->model(), options, state.session_memory.bytes()));
  state.session->SetAdapters(state.adapters);
  return {};
}

void Engine::Restart() { state_->session->Truncate(0); }
std::size_t Engine::Rewind(std::size_t length) { return state_->session->Truncate(length); }

std::size_t Engine::remaining() const { return state_->session->remaining(); }

Result<void> Engine::Append(std::span<const TokenId> tokens, inlay::FunctionRef<bool(std::size_t, std::size_t)> progress) {
  return state_->session->Append(tokens, state_->threads, progress);
}

std::span<const float> Engine::logits() const { return state_->session->logits(); }

Result<Engine::Generated> Engine::Generate(std::span<const TokenId> prompt, std::size_t max_tokens,
                                           const inlay::SamplerOptions& sampling, bool stop_at_end_of_text,
                                           inlay::FunctionRef<Result<void>(std::string_view, TokenId)> use) {
  State& state = *state_;
  INLAY_ASSIGN_OR_RETURN(const inlay::Tokenizer* const vocabulary, tokenizer());
  inlay::GenerateOptions options;
  options.max_tokens = max_tokens;
  options.sampling = sampling;
  options.stop_at_end_of_text = stop_at_end_of_text;
  options.cancel = &Interrupted();
  INLAY_ASSIGN_OR_RETURN(
      inlay::OwnedBuffer memory,
      inlay::OwnedBuffer::Create(inlay::Generation<Model>::MemoryBytes(state.loaded->model(), *vocabulary, options)));
  INLAY_ASSIGN_OR_RETURN(auto generation, inlay::Generation<Model>::Create(*state.session, *vocabulary, prompt, options,
                                                                          memory.bytes(), state.threads));
  for (const std::string_view text : generation) INLAY_CHECK_OK(use(text, generation.token()));
  return Generated{generation.tokens(), generation.token(), generation.finish_reason(), generation.status()};
}

Result<void> Engine::StartEvaluation(inlay::SessionOptions options) {
  INLAY_ASSIGN_OR_RETURN(const inlay::MemoryPlan plan, PlanFor(options));
  State& state = *state_;
  options.threads = state.threads.concurrency();
  options.adapter_rank = state.adapters.rank();
  const Model& model = state.loaded->model();
  INLAY_ASSIGN_OR_RETURN(state.session_memory, inlay::OwnedBuffer::Create(plan.session(), "session"));
  INLAY_ASSIGN_OR_RETURN(inlay::Arena arena, inlay::Arena::Create(state.session_memory.bytes()));
  INLAY_ASSIGN_OR_RETURN(state.cache, model.NewCache(options, arena));
  INLAY_ASSIGN_OR_RETURN(state.workspace, model.NewWorkspace(options, arena));
  return {};
}

Result<void> Engine::Evaluate(std::span<const TokenId> tokens,
                              inlay::FunctionRef<Result<void>(std::size_t, std::span<const float>)> use) {
  State& state = *state_;
  state.cache->Truncate(0);
  for (std::size_t done = 0; done < tokens.size();) {
    const std::size_t count = std::min(state.workspace->batch(), tokens.size() - done);
    const inlay::SequenceInput input{&*state.cache, tokens.subspan(done, count), inlay::Outputs::kAll, &state.adapters};
    INLAY_ASSIGN_OR_RETURN(const inlay::LogitsView logits,
                           state.loaded->model().Forward({&input, 1}, *state.workspace, state.threads));
    for (std::size_t i = 0; i < logits.rows; ++i) INLAY_CHECK_OK(use(done + i, logits.row(i)));
    done += count;
    if (Interrupted()) return Fail(ErrorCode::kCancelled, "evaluation", "interrupted after ", done, " tokens");
  }
  return {};
}

Result<std::vector<float>> Engine::Embed(std::span<const TokenId> tokens, inlay::Pooling pooling) {
  State& state = *state_;
  if (pooling == inlay::Pooling::kRank) {
    std::vector<float> scores(config().score_count());
    INLAY_CHECK_OK(inlay::ScoreSequence(state.loaded->model(), *state.cache, *state.workspace, tokens, scores, state.threads,
                                        &state.adapters));
    return scores;
  }
  std::vector<float> embedding(config().embedding_dim());
  INLAY_CHECK_OK(inlay::EmbedSequence(state.loaded->model(), *state.cache, *state.workspace, tokens, pooling, embedding,
                                      state.threads, &state.adapters));
  return embedding;
}

Result<void> Engine::StartReranking(std::size_t context, inlay::KvType kv, bool cut_documents) {
  State& state = *state_;
  INLAY_ASSIGN_OR_RETURN(const inlay::Tokenizer* const vocabulary, tokenizer());
  inlay::RerankOptions options;
  if (file().gguf() != nullptr) options.form = inlay::RerankForm(*file().gguf());
  options.context = context;
  options.cut_documents = cut_documents;
  options.kv = kv;
  options.threads = state.threads.concurrency();
  options.adapters = state.adapters;
  INLAY_ASSIGN_OR_RETURN(state.reranker, inlay::Reranker<Model>::Create(state.loaded->model(), *vocabulary, options));
  return {};
}

Result<float> Engine::Rerank(std::string_view query, std::string_view document) {
  return state_->reranker->Score(query, document, state_->threads);
}

}  // namespace cli
