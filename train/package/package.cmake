# The Debian package, by cpack in the build folder: the component "command", with what its libraries' packages are called
# found by dpkg-shlibdeps. What lies below /usr/share/doc is made here from LICENSE and from the changelog beside this.
set(package_doc ${CMAKE_BINARY_DIR}/package)
file(STRINGS ${CMAKE_SOURCE_DIR}/LICENSE licence)
set(copyright "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: mla\n\nFiles: *\n")
foreach(line IN LISTS licence)
  if(line MATCHES "^Copyright \\(c\\) (.*)")
    string(APPEND copyright "Copyright: ${CMAKE_MATCH_1}\nLicense: Expat\n")
  elseif(NOT line MATCHES "^MIT License")
    if(line STREQUAL "")
      set(line .)
    endif()
    string(APPEND text " ${line}\n")
  endif()
endforeach()
string(REGEX REPLACE "^( \\.\n)+" "" text "${text}")
file(WRITE ${package_doc}/copyright "${copyright}${text}")
execute_process(COMMAND gzip -9nc ${CMAKE_SOURCE_DIR}/train/package/changelog OUTPUT_FILE ${package_doc}/changelog.gz)
install(FILES ${package_doc}/copyright ${package_doc}/changelog.gz DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/mla
        COMPONENT package EXCLUDE_FROM_ALL)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_COMPONENTS_ALL command package)
set(CPACK_COMPONENTS_GROUPING ALL_COMPONENTS_IN_ONE)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ
                                                WORLD_EXECUTE)
set(CPACK_PACKAGE_CONTACT "The mla developers <maintainers@mla.example>")
set(CPACK_DEBIAN_PACKAGE_NAME mla)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "gnuplot-nox | gnuplot, openmpi-bin")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS bash-completion)
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "train small language models with multi-head latent attention")
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION "Trains and adapts small language models on CPUs, whose attention is
Multi-head Latent Attention: keys and values pass through a narrow
latent, and only the latent is cached. Runs resume bit for bit, several
processes and hosts train together over MPI, and models go from and to
the files of Hugging Face.")
include(CPack)
