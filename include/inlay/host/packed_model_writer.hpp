// Writes an opened model file as a packed one, whatever it came from. A llama2.c tokenizer becomes GGUF metadata on the
// way, so that the packed file runs alone.
#ifndef INLAY_HOST_PACKED_MODEL_WRITER_HPP_
#define INLAY_HOST_PACKED_MODEL_WRITER_HPP_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <utility>

#include "inlay/core/macros.hpp"
#include "inlay/core/owned_buffer.hpp"
#include "inlay/core/result.hpp"
#include "inlay/core/token.hpp"
#include "inlay/files/gguf_writer.hpp"
#include "inlay/host/model_file.hpp"
#include "inlay/text/tokenizer.hpp"
#include "inlay/text/vocab.hpp"
#include "inlay/weights/config_keys.hpp"
#include "inlay/weights/pack.hpp"
#include "inlay/weights/packed_file.hpp"
#include "inlay/weights/weight_source.hpp"

INLAY_BEGIN_NAMESPACE

// The metadata values that PutTokenizer writes.
inline constexpr std::size_t kTokenizerMetadataCount = 10;

// A SentencePiece vocabulary as GGUF's "tokenizer.ggml." keys. Spaces become U+2581 and the sequence markers "<s>" and
// "</s>", as GGUF has them. Ids, scores and what ends a generation stay. kOutOfMemory: the heap refused a few hundred KB.
inline Result<void> PutTokenizer(const Tokenizer& tokenizer, GgufWriter& writer) {
  const Vocabulary& vocabulary = tokenizer.vocabulary();
  const std::size_t count = tokenizer.size();
  INLAY_ASSIGN_OR_RETURN(OwnedBuffer numbers, OwnedBuffer::Create(count * sizeof(float), "token scores"));
  INLAY_ASSIGN_OR_RETURN(OwnedBuffer spelling,
                         OwnedBuffer::Create(kSpaceMark.size() * tokenizer.max_piece_bytes(), "token piece"));
  char* const text = reinterpret_cast<char*>(spelling.bytes().data());
  const auto piece_of = [&](std::size_t i) -> std::string_view {
    const TokenId id = static_cast<TokenId>(i);
    if (id == tokenizer.bos()) return "<s>";
    if (id == tokenizer.eos()) return "</s>";
    std::size_t size = 0;
    for (const char c : vocabulary.Piece(id)) {
      if (c == ' ') {
        size += kSpaceMark.copy(text + size, kSpaceMark.size());
      } else {
        text[size++] = c;
      }
    }
    return {text, size};
  };
  INLAY_CHECK_OK(writer.Put("tokenizer.ggml.model", "llama"));
  INLAY_CHECK_OK(writer.PutStrings("tokenizer.ggml.tokens", count, piece_of));
  float* const scores = reinterpret_cast<float*>(numbers.bytes().data());
  for (std::size_t i = 0; i < count; ++i) scores[i] = vocabulary.Score(static_cast<TokenId>(i));
  INLAY_CHECK_OK(writer.PutArray("tokenizer.ggml.scores", std::span<const float>(scores, count)));
  // GGUF's numbers of token types.
  std::int32_t* const types = reinterpret_cast<std::int32_t*>(numbers.bytes().data());
  for (std::size_t i = 0; i < count; ++i) {
    const TokenAttributes attributes = vocabulary.Attributes(static_cast<TokenId>(i));
    types[i] = (attributes & kTokenUnknown) != 0 ? 2 : (attributes & kTokenControl) != 0 ? 3
               : (attributes & kTokenByte) != 0  ? 6 : 1;
  }
  INLAY_CHECK_OK(writer.PutArray("tokenizer.ggml.token_type", std::span<const std::int32_t>(types, count)));
  INLAY_CHECK_OK(writer.Put("tokenizer.ggml.bos_token_id", static_cast<std::uint32_t>(tokenizer.bos())));
  INLAY_CHECK_OK(writer.Put("tokenizer.ggml.eos_token_id", static_cast<std::uint32_t>(tokenizer.eos())));
  INLAY_CHECK_OK(
      writer.Put("tokenizer.ggml.unknown_token_id", static_cast<std::uint32_t>(tokenizer.special().unknown)));
  // llama2.c's models begin the next text instead of ending this one: the token that begins a sequence ends a generation.
  INLAY_CHECK_OK(writer.Put("tokenizer.ggml.eot_token_id", static_cast<std::uint32_t>(tokenizer.bos())));
  INLAY_CHECK_OK(writer.Put("tokenizer.ggml.add_bos_token", tokenizer.add_bos()));
  return writer.Put("tokenizer.ggml.add_space_prefix", tokenizer.add_space_prefix());
}

// Writes a GGUF file that is not packed and was opened without its weights (LoadOptions::weights false): packs it on the way, in
// `memory` bytes (more where a tile takes more), whatever its size. `check_finite` as in PackWeights. Errors: those of BindSource
// and PackWeights, of the sink, kOutOfMemory. Cost: packs every weight twice, as the hash comes before the weights; `progress`
// counts both.
inline Result<void> PackModelFile(const ModelFile& file, bool check_finite, std::size_t memory, ExecutorRef executor,
                                  PackProgress progress, ByteSink sink) {
  if (file.gguf() == nullptr || file.was_packed()) {
    return Fail(ErrorCode::kInvalidArgument, "file", "is not a GGUF file that is not packed");
  }
  const ModelConfig& config = file.config();
  const std::size_t count = TensorCount(config);
  INLAY_ASSIGN_OR_RETURN(OwnedBuffer table, OwnedBuffer::Create(count * sizeof(SourceTensor), "tensor table"));
  const std::span<SourceTensor> sources(reinterpret_cast<SourceTensor*>(table.bytes().data()), count);
  INLAY_CHECK_OK(BindSource(config, *file.gguf(), sources));
  INLAY_ASSIGN_OR_RETURN(OwnedBuffer piece,
                         OwnedBuffer::Create(std::max(memory, PackPieceBytes(config, file.types())), "packed weights"));
  const std::size_t total = 2 * PackedWeightsBytes(config, file.types());
  std::size_t done = 0;
  const auto pack = [&](ByteSink to) {
    const auto counted = [&](std::span<const std::byte> bytes) -> Result<void> {
      INLAY_CHECK_OK(to(bytes));
      done += bytes.size();
      if (!progress(done, total)) return Fail(ErrorCode::kCancelled, "pack", "stopped by the caller");
      return {};
    };
    return PackWeightsInPieces(config, sources, file.types(), std::exchange(check_finite, false), piece.bytes(), executor,
                               counted);
  };
  const auto copy = [&](GgufWriter& writer) { return CopyMetadata(*file.gguf(), writer); };
  return WritePackedFile(config, file.types(), PackedWeightsSource(pack), {CopiedMetadataCount(*file.gguf()), copy}, sink);
}

// Writes `file`, which must have its weights (LoadOptions::weights). `name` becomes general.name where the file has no
// metadata of its own. Errors: those of the sink, kOutOfMemory. Cost: hashes and writes every weight once.
inline Result<void> WritePackedModel(const ModelFile& file, std::string_view name, ByteSink sink) {
  if (const GgufFile* gguf = file.gguf()) {
    auto copy = [gguf](GgufWriter& writer) { return CopyMetadata(*gguf, writer); };
    return WritePackedFile(file.config(), file.types(), file.packed_weights(), {CopiedMetadataCount(*gguf), copy}, sink);
  }
  const Tokenizer* tokenizer = file.tokenizer();
  auto put = [&](GgufWriter& writer) -> Result<void> {
    INLAY_CHECK_OK(PutConfig(file.config(), name, writer));
    if (tokenizer != nullptr) return PutTokenizer(*tokenizer, writer);
    return writer.Put("tokenizer.ggml.model", "no_vocab");
  };
  const std::size_t count = ConfigMetadataCount(file.config()) + (tokenizer != nullptr ? kTokenizerMetadataCount : 1);
  return WritePackedFile(file.config(), file.types(), file.packed_weights(), {count, put}, sink);
}

INLAY_END_NAMESPACE

#endif  // INLAY_HOST_PACKED_MODEL_WRITER_HPP_
