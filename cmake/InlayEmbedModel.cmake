# inlay_embed_model(target file.gguf [NAME name] [KV type...] [AS_IS])
#
# Links a model into a target's program as read-only data, used where it is. The target can then include <name.hpp>
# (name: the file's, in letters of C++), which declares
#
#   name::File()                  the packed file, for TextGenerator::Open and its like
#   name::kConfig, ModelFormats   the dimensions and weight types, known to the compiler
#   name::DescribedModel          the model's type
#   name::TextGenerator           what generates text with it: TextGenerator::Open(File(), executor)
#
# KV: the types of key/value caches that are compiled in (f32, f16, bf16, q8, q4); without it those of inlay::Model. Each takes
# some 20 KiB of code.
#
# The weights are in a section of their own, "inlay_weights". Packing and description are made when the target is built,
# by the "inlay" program that INLAY_PROGRAM names, else by a small one that is built first, else (when the library is
# installed) by an installed "inlay". INLAY_PROGRAM is needed when cross-compiling without an emulator. AS_IS links the
# file unpacked, and the header only has File(): for programs that run any model. Needs GCC or Clang.

function(inlay_embed_model target file)
  cmake_parse_arguments(PARSE_ARGV 2 arg "AS_IS" "NAME" "KV")
  if(arg_UNPARSED_ARGUMENTS OR arg_KEYWORDS_MISSING_VALUES)
    message(FATAL_ERROR "inlay_embed_model(target file.gguf [NAME name] [KV type...] [AS_IS]): what is ${arg_UNPARSED_ARGUMENTS}?")
  endif()
  cmake_path(ABSOLUTE_PATH file BASE_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}" NORMALIZE)
  if(NOT EXISTS "${file}")
    message(FATAL_ERROR "inlay_embed_model: there is no file ${file}")
  endif()
  if(MSVC)
    message(FATAL_ERROR "inlay_embed_model needs an assembler with .incbin: GCC or Clang")
  endif()
  if(NOT arg_NAME)
    cmake_path(GET file STEM LAST_ONLY arg_NAME)
  endif()
  string(MAKE_C_IDENTIFIER "${arg_NAME}" INLAY_EMBED_NAME)
  set(directory "${CMAKE_CURRENT_BINARY_DIR}/${target}_${INLAY_EMBED_NAME}")

  if(arg_AS_IS)
    set(INLAY_EMBED_FILE "${file}")
    set(INLAY_EMBED_INCLUDE "")
  else()
    if(INLAY_PROGRAM)
      set(program "${INLAY_PROGRAM}")
    elseif(TARGET inlay_embedder)
      set(program inlay_embedder)
    else()
      find_program(INLAY_PROGRAM inlay HINTS "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/../../../bin" DOC "The inlay program, which packs models")
      set(program "${INLAY_PROGRAM}")
    endif()
    if(NOT program)
      message(FATAL_ERROR "inlay_embed_model needs the inlay program; install it or set INLAY_PROGRAM")
    endif()
    set(INLAY_EMBED_FILE "${directory}/${INLAY_EMBED_NAME}.packed.gguf")
    set(INLAY_EMBED_INCLUDE "#include \"${INLAY_EMBED_NAME}_described.hpp\"\n")
    list(JOIN arg_KV "," kv)
    if(kv)
      set(kv --kv "${kv}")
    endif()
    set(described "${directory}/${INLAY_EMBED_NAME}_described.hpp")
    add_custom_command(OUTPUT "${described}" "${INLAY_EMBED_FILE}"
      COMMAND ${program} describe "${file}" --namespace "${INLAY_EMBED_NAME}" ${kv} --output "${described}"
      COMMAND ${program} pack "${file}" "${INLAY_EMBED_FILE}"
      DEPENDS "${file}" ${program} COMMENT "Packing ${INLAY_EMBED_NAME}" VERBATIM)
    target_sources(${target} PRIVATE "${described}")
  endif()
  configure_file("${CMAKE_CURRENT_FUNCTION_LIST_DIR}/embedded_model.hpp.in" "${directory}/${INLAY_EMBED_NAME}.hpp" @ONLY)
  configure_file("${CMAKE_CURRENT_FUNCTION_LIST_DIR}/embedded_model.cpp.in" "${directory}/${INLAY_EMBED_NAME}.cpp" @ONLY)
  set_source_files_properties("${directory}/${INLAY_EMBED_NAME}.cpp" PROPERTIES OBJECT_DEPENDS "${INLAY_EMBED_FILE}")
  target_sources(${target} PRIVATE "${directory}/${INLAY_EMBED_NAME}.cpp")
  target_include_directories(${target} PRIVATE "${directory}")
endfunction()
