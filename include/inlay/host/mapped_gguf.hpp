// A GGUF file on a machine with files and a heap: mapping, index and view in one object. Apart from model_file.hpp for
// tools that look at files without running them.
#ifndef INLAY_HOST_MAPPED_GGUF_HPP_
#define INLAY_HOST_MAPPED_GGUF_HPP_

#include <cstddef>
#include <cstring>
#include <optional>
#include <span>
#include <utility>

#include "inlay/core/arena.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/owned_buffer.hpp"
#include "inlay/core/result.hpp"
#include "inlay/files/gguf.hpp"
#include "inlay/files/mapped_file.hpp"

INLAY_BEGIN_NAMESPACE

inline bool StartsLikeGguf(std::span<const std::byte> bytes) {
  return bytes.size() >= 4 && std::memcmp(bytes.data(), "GGUF", 4) == 0;
}

// Owns the mapping and the index. Movable; views of the file stay valid as long as it, or what it was moved to, lives.
class MappedGguf {
 public:
  MappedGguf() = default;  // of no file, to be assigned to

  // Errors: kSystem (the file cannot be mapped) and those of GgufFile::Open.
  static Result<MappedGguf> Open(const char* path) {
    INLAY_ASSIGN_OR_RETURN(MappedFile mapping, MappedFile::Open(path));
    return Open(std::move(mapping));
  }
  static Result<MappedGguf> Open(MappedFile mapping) {
    MappedGguf opened;
    opened.mapping_ = std::move(mapping);
    INLAY_ASSIGN_OR_RETURN(opened.index_, OwnedBuffer::Create(GgufFile::IndexBytes(opened.bytes()), "file index"));
    INLAY_ASSIGN_OR_RETURN(Arena arena, Arena::Create(opened.index_.bytes()));
    INLAY_ASSIGN_OR_RETURN(opened.file_, GgufFile::Open(opened.bytes(), arena));
    return opened;
  }

  std::span<const std::byte> bytes() const { return mapping_.bytes(); }
  const MappedFile& mapping() const { return mapping_; }
  // nullptr when there is none.
  const GgufFile* file() const { return file_ ? &*file_ : nullptr; }

 private:
  MappedFile mapping_;
  OwnedBuffer index_;
  std::optional<GgufFile> file_;
};

INLAY_END_NAMESPACE

#endif  // INLAY_HOST_MAPPED_GGUF_HPP_
