// A GGUF file, or all files of a split model, on a machine with files and a heap: mappings, indexes and view in one object.
// Apart from model_file.hpp for tools that look at files without running them.
#ifndef INLAY_HOST_MAPPED_GGUF_HPP_
#define INLAY_HOST_MAPPED_GGUF_HPP_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string_view>
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

namespace detail {

// The names of a split model's files, as llama-gguf-split gives them: PREFIX-00001-of-00003.gguf. They differ in five digits.
class ShardPath {
 public:
  // kMismatch when `path` does not end as the name of file `number` (from 0) of `count` does.
  static Result<ShardPath> Create(std::string_view path, std::uint64_t number, std::uint64_t count) {
    const TextBuffer<64> ending("-", Digits(number + 1).view(), "-of-", Digits(count).view(), ".gguf");
    if (!path.ends_with(ending.view())) {
      return Fail(ErrorCode::kMismatch, Tail(path), "is file ", number + 1, " of a model that is split over ", count,
                  "; to find the others, its name must end in ", ending.view());
    }
    ShardPath shard;
    INLAY_ASSIGN_OR_RETURN(shard.memory_, OwnedBuffer::Create(path.size() + 1, "path"));
    char* const to = reinterpret_cast<char*>(shard.memory_.bytes().data());
    std::memcpy(to, path.data(), path.size());
    to[path.size()] = '\0';
    shard.number_at_ = path.size() - ending.size() + 1;
    return shard;
  }

  // The name of another file of the model; valid until the next call.
  const char* Of(std::uint64_t number) {
    std::memcpy(memory_.bytes().data() + number_at_, Digits(number + 1).c_str(), 5);
    return reinterpret_cast<const char*>(memory_.bytes().data());
  }

  // The end of a path, where its name is, as much as an error has room for.
  static std::string_view Tail(std::string_view path) { return path.substr(path.size() > 90 ? path.size() - 90 : 0); }

 private:
  static TextBuffer<32> Digits(std::uint64_t number) {
    TextBuffer<32> text;
    for (std::uint64_t digits = 10000; digits > 1 && number < digits; digits /= 10) text.Append('0');
    return text.Append(number);
  }

  OwnedBuffer memory_;
  std::size_t number_at_ = 0;
};

}  // namespace detail

// Owns mappings and indexes. Movable; views of the file stay valid as long as it, or what it was moved to, lives.
class MappedGguf {
 public:
  MappedGguf() = default;  // of no file, to be assigned to

  // `path` is a file, or the first file of a split model, whose others are beside it. Errors: kSystem (a file cannot be
  // mapped) and those of GgufFile::Open; kMismatch for files of a split model that do not belong together, naming the file.
  static Result<MappedGguf> Open(const char* path) {
    INLAY_ASSIGN_OR_RETURN(MappedFile mapping, MappedFile::Open(path));
    return Open(std::move(mapping), path);
  }
  // The same for a file that is mapped already.
  static Result<MappedGguf> Open(MappedFile mapping, const char* path) {
    INLAY_ASSIGN_OR_RETURN(MappedGguf opened, OpenOne(std::move(mapping)));
    INLAY_ASSIGN_OR_RETURN(const GgufSplit split, opened.file_->split());
    if (split.count > 1) INLAY_CHECK_OK(opened.OpenOthers(path, split));
    return opened;
  }

  // One file; where it is of a split model, that part of it.
  static Result<MappedGguf> OpenOne(MappedFile mapping) {
    MappedGguf opened;
    opened.first_.mapping = std::move(mapping);
    INLAY_ASSIGN_OR_RETURN(opened.file_, opened.first_.Index());
    return opened;
  }

  // Of a split model: the first file's.
  std::span<const std::byte> bytes() const { return first_.mapping.bytes(); }
  // nullptr when there is none.
  const GgufFile* file() const { return file_ ? &*file_ : nullptr; }

  // See MappedFile.
  void ReleasePages() const {
    first_.mapping.ReleasePages();
    for (std::size_t i = 0; i < other_count_; ++i) others_[i].mapping.ReleasePages();
  }

 private:
  struct Shard {
    MappedFile mapping;
    OwnedBuffer index;

    Result<GgufFile> Index() {
      INLAY_ASSIGN_OR_RETURN(index, OwnedBuffer::Create(GgufFile::IndexBytes(mapping.bytes()), "file index"));
      INLAY_ASSIGN_OR_RETURN(Arena arena, Arena::Create(index.bytes()));
      return GgufFile::OpenShard(mapping.bytes(), arena);
    }
  };

  Result<void> OpenOthers(std::string_view path, const GgufSplit& split) {
    constexpr std::uint64_t kMostFiles = 99999;  // five digits
    if (split.count > kMostFiles) {
      return Fail(ErrorCode::kTooLarge, "split.count", "is ", split.count, ", must be at most ", kMostFiles);
    }
    INLAY_ASSIGN_OR_RETURN(detail::ShardPath name, detail::ShardPath::Create(path, split.number, split.count));
    if (split.number != 0) {
      return Fail(ErrorCode::kInvalidArgument, detail::ShardPath::Tail(path), "is file ", split.number + 1, " of ", split.count,
                  " of a split model; name the first");
    }
    const std::size_t count = static_cast<std::size_t>(split.count);
    others_.reset(new (std::nothrow) Shard[count - 1]);
    if (!others_) return Fail(ErrorCode::kOutOfMemory, "split.count", "the heap refused the tables of ", count, " files");
    other_count_ = count - 1;
    INLAY_ASSIGN_OR_RETURN(joined_, OwnedBuffer::Create(count * sizeof(GgufFile), "split model"));
    GgufFile* const shards = reinterpret_cast<GgufFile*>(joined_.bytes().data());
    std::construct_at(shards, *file_);
    for (std::size_t i = 1; i < count; ++i) {
      const char* const shard_path = name.Of(i);
      const Result<GgufFile> opened = OpenShard(others_[i - 1], shard_path, i);
      if (!opened) {
        const Error& error = opened.error();
        Error named = Fail(error.code, detail::ShardPath::Tail(shard_path), "file ", i + 1, " of ", count, " of the split model: ");
        if (error.code != ErrorCode::kSystem) named.detail.Append(error.field.view()).Append(": ");
        named.detail.Append(error.detail.view());
        named.offset = error.offset;
        return named;
      }
      std::construct_at(shards + i, *opened);
    }
    INLAY_ASSIGN_OR_RETURN(file_, GgufFile::Join({shards, count}));
    return {};
  }

  Result<GgufFile> OpenShard(Shard& shard, const char* path, std::size_t number) const {
    INLAY_ASSIGN_OR_RETURN(shard.mapping, MappedFile::Open(path));
    INLAY_ASSIGN_OR_RETURN(const GgufFile file, shard.Index());
    INLAY_CHECK_OK(file.CheckShardOf(*file_, number));
    return file;
  }

  Shard first_;
  std::unique_ptr<Shard[]> others_;
  std::size_t other_count_ = 0;
  OwnedBuffer joined_;  // the views of all files of a split model
  std::optional<GgufFile> file_;
};

INLAY_END_NAMESPACE

#endif  // INLAY_HOST_MAPPED_GGUF_HPP_
